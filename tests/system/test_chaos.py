"""Real processes under random faults: nothing is lost, nothing is published twice."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "chaos" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("transport", "seconds"), [("router", 90), ("pushpull", 40)])
def test_every_promise_is_kept_under_random_faults(transport: str, seconds: int) -> None:
    """The full hour is a command: ``python tests/system/chaos/run.py --seconds 3600``."""
    done = subprocess.run(
        [sys.executable, str(RUN), "--seconds", str(seconds), "--transport", transport],
        capture_output=True,
        text=True,
        check=False,
    )

    print(done.stdout)  # noqa: T201 -- the figures belong into the gate's log
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 promises broken" in done.stdout
