"""What tests with whole installations share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.harness.trial_installation import TrialInstallation, trial_installation
from tests.harness.trial_models import write_trial_distribution


@pytest.fixture(params=["router", "pushpull"])
def install(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., TrialInstallation]]:
    """Make an installation with these timers."""
    monkeypatch.syspath_prepend(str(write_trial_distribution(tmp_path / "plugins")))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with ExitStack() as stack:
        yield lambda **timers: stack.enter_context(
            trial_installation(tmp_path, request.param, **timers)
        )
