"""The command line in a folder of its own, with a session that ends every task at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness.instant_session import CommandLine, InstantSession

from paintmq.cli import run_session


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Return the command line; relative names are below ``tmp_path``."""
    session = InstantSession()

    @contextmanager
    def instant(*_: object, **__: object) -> Iterator[InstantSession]:
        yield session

    monkeypatch.setattr(run_session, "open_session", instant)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return CommandLine(tmp_path, session, capsys)
