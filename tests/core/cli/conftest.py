"""A broker for the commands that ask one: real sockets, toy models, workers played by the test."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.harness.operated_broker import OperatedBroker

from paintmq.cli import common_options
from paintmq.cli.app import run_command_line


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print as into a pipe: pytest-xdist gives its workers a width, and tables fold at it."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def operated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[OperatedBroker]:
    """Return a broker to be operated from a folder without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common_options, "PATIENCE", 30.0)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with ExitStack() as stack:
        yield OperatedBroker(run_command_line, capsys, stack)


@pytest.fixture
def durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[OperatedBroker]:
    """Return a broker with a journal on disk, ``journal`` in the folder it is operated from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common_options, "PATIENCE", 30.0)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with ExitStack() as stack:
        yield OperatedBroker(run_command_line, capsys, stack, journal=tmp_path / "journal")
