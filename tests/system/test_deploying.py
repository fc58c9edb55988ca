"""The files to deploy PaintMQ with: they say what the program understands."""

import configparser
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from tests.harness.command_process import CommandProcess, private_environment

from paintmq.settings.file import load_config

FOLDER = Path(__file__).parents[2] / "examples/deploying"
UNITS = sorted(FOLDER.glob("*.service"))


def test_the_settings_of_the_composed_broker_are_valid() -> None:
    broker = load_config(FOLDER / "broker.toml", {}).broker

    assert (broker.host, broker.durability) == ("0.0.0.0", "full")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_every_line_of_a_unit(tmp_path: Path, unit: Path) -> None:
    copy = tmp_path / unit.name  # with a program that is there
    copy.write_text(unit.read_text().replace("/opt/paintmq/bin/paintmq", "/bin/true"))

    told = subprocess.run(
        ["systemd-analyze", "verify", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert [line for line in told.stderr.splitlines() if unit.name in line] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_leaves_more_time_to_stop_than_running_tasks_have(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # as the module's pages say
    parser.read(unit)

    grace = load_config(None, {"PAINTMQ_SETTINGS": ""}).timers.drain_grace
    assert float(parser["Service"]["TimeoutStopSec"]) > grace


@pytest.mark.slow
def test_a_broker_says_when_it_is_ready_alive_and_stopping(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environment = private_environment(
            tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"), PAINTMQ_BROKER__PORT="0"
        )
        with CommandProcess(["broker"], environment) as broker:
            assert manager.recv(100) == b"READY=1"
            assert manager.recv(100) == b"WATCHDOG=1"
            broker.process.terminate()
            told = manager.recv(100)
            while told == b"WATCHDOG=1":
                told = manager.recv(100)
            assert told == b"STOPPING=1"
            assert broker.wait() == 0
