"""Real processes under random faults: nothing is lost, nothing is published twice."""

import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).parent / "chaos"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("transport", "seconds", "faults", "tasks", "more"),
    [
        ("router", 90, 120, 2_000, ("--keys", "--gateway", "--clock", "--disk")),
        ("pushpull", 40, 30, 1_000, ("--timers", "default")),
    ],
)
def test_every_promise_is_kept_under_random_faults(
    transport: str, seconds: int, faults: int, tasks: int, more: tuple[str, ...], tmp_path: Path
) -> None:
    """At least 150 faults and 3,000 tasks together; a slow machine takes longer over them.

    The full hour is a command: ``python tests/system/chaos/run.py --seconds 3600``.
    """
    done = run(
        *("run.py", "--transport", transport, "--keep", tmp_path, "--seconds", seconds),
        *("--faults", faults, "--tasks", tasks, *more),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 promises broken" in done.stdout

    if transport == "pushpull":  # the smaller run: its journals are judged once for every plant
        noticed = run("plants.py", tmp_path)
        assert noticed.returncode == 0, noticed.stdout + noticed.stderr


def run(script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, str(CHAOS / script), *(str(each) for each in arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)  # noqa: T201 -- the figures belong into the gate's log
    return done
