"""The command line as a whole."""

import logging
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from paintmq.cli.app import run_command_line

HEAVY = ("numpy", "cv2", "PIL", "zmq", "msgspec", "pluggy", "cattrs", "sqlite3", "asyncio")


@pytest.mark.parametrize(
    "what", ["import paintmq", "from paintmq.cli.app import make_app; make_app()"]
)
def test_a_start_imports_nothing_heavy(what: str) -> None:
    """Else every ``paintmq --help`` would wait for it."""
    code = f"{what}; import sys; print([n for n in {HEAVY} if n in sys.modules])"

    # Without measuring coverage, which imports things of its own.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout

    assert shown == "[]\n"


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--version"]) == 0
    assert capsys.readouterr().out == f"paintmq {version('paintmq')}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--help"]) == 0

    shown = capsys.readouterr().out
    commands: tuple[str, ...] = (
        "run",
        "up",
        "broker",
        "node",
        "reload",
        "status",
        "why",
        "cancel",
        "dead",
    )
    commands += (
        "tasks",
        "backup",
        "drain",
        "doctor",
        "config",
        "plugins",
        "models",
        "new-plugin",
        "keys",
    )
    assert all(f"│ {name} " in shown for name in commands)


@pytest.mark.parametrize("arguments", [["no-such-command"], ["run"], ["run", "opencv"], ["--no"]])
def test_a_malformed_command_line_exits_with_status_2(arguments: list[str]) -> None:
    assert run_command_line(arguments) == 2


def test_a_command_leaves_logging_as_it_was() -> None:
    """A program or a test may run several."""
    logger = logging.getLogger("paintmq")
    before = (list(logger.handlers), logger.level, logger.propagate)

    run_command_line(["run", "opencv", "no-such-file.png", "--mask", "no-such-file.png"])

    assert (logger.handlers, logger.level, logger.propagate) == before
