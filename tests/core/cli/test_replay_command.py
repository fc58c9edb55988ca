"""A recorded day of a broker with the installed plugins, replayed by command."""

from pathlib import Path

import pytest
from tests.harness.toy_broker import TOY_QUEUES, toy_client, toy_task

from paintmq.broker.shell.server import BrokerServer
from paintmq.cli.app import run_command_line
from paintmq.config import BrokerConfig, Config
from paintmq.plugin.manager import PluginManager
from paintmq.wire.messages import Accepted, Submit


@pytest.fixture
def incident(tmp_path: Path) -> Path:
    path = tmp_path / "incident.jsonl"
    config = Config(broker=BrokerConfig(port=0, record=str(path)), queues=TOY_QUEUES)
    server = BrokerServer(config, PluginManager.installed())
    with server, toy_client(server) as client:
        for _ in range(3):
            client.say(Submit(toy_task(task_type="inpaint", model="opencv")))
            client.hear(Accepted)
        server.stop(grace=0)
    return path


def test_a_recorded_day_is_answered_the_same(
    incident: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["replay", str(incident)]) == 0
    assert "3 tasks accepted: 3 waiting" in (printed := capsys.readouterr().out)
    assert "every answer was the same" in printed


def test_another_answer_is_shown_and_fails_the_command(
    incident: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = incident.read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if '"Submit"' in line)
    lines.insert(place, lines[place])  # as if it had been said twice
    incident.write_text("".join(lines))

    assert run_command_line(["replay", str(incident)]) == 1
    assert f"line {place + 2} was answered otherwise" in capsys.readouterr().out


def test_another_router_may_decide(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["replay", str(incident), "--router", "least-loaded"]) == 0
    assert "not compared" in capsys.readouterr().out


def test_a_file_that_is_no_input_log_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("milk, bread\n")

    assert run_command_line(["replay", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
