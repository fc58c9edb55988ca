"""What a broker was told, written to a file, leads a fresh machine to the very same answers."""

import json
from pathlib import Path

import pytest

from paintmq.broker.replay import replay
from paintmq.broker.server import BrokerServer
from paintmq.config import RouterConfig
from paintmq.errors import ConfigError
from paintmq.task import TaskError
from paintmq.testing.toy_broker import (
    picture_task,
    toy_client,
    toy_config,
    toy_plugins,
    toy_task,
    toy_worker,
)
from paintmq.testing.wire_peer import describe
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptFailed,
    AttemptRecorded,
    AttemptSucceeded,
    Cancel,
    CancelAnswered,
    Submit,
    WorkerGoodbye,
)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """An incident: tasks that succeed, fail and are retried, a cancel, a restart in between."""
    log, journal = tmp_path / "incident.jsonl", tmp_path / "journal"
    server = BrokerServer(toy_config(journal), toy_plugins())
    with server, toy_client(server) as client:
        client.say(Submit(toy_task()))
        client.hear(Accepted)
        server.stop(grace=0)
    server = BrokerServer(toy_config(journal, record=str(log)), toy_plugins())
    with server, toy_client(server) as client, toy_worker(server) as worker:
        worker.hear(Assign)  # the one from before the restart
        for number in range(20):
            request = picture_task(b"picture")
            client.say(Submit(request), [b"picture"])
            client.hear(Accepted)
            if number % 5 == 4:
                client.say(Cancel(request.id))
                client.hear(CancelAnswered)
        worker.say(WorkerGoodbye())
        with toy_worker(server, name="node/cpu-9") as other:
            for number in range(8):
                item = other.hear(Assign).assignments[0]
                if number == 3:
                    error = TaskError(code="model_error", message="planted", retryable=True)
                    other.say(AttemptFailed(task_id=item.task.id, fence=item.fence, error=error))
                else:
                    outputs = (describe("image", b"result"),)
                    other.say(
                        AttemptSucceeded(
                            task_id=item.task.id, fence=item.fence, outputs=outputs, ran=0.1
                        ),
                        [b"result"],
                    )
                other.hear(AttemptRecorded)
        server.stop(grace=0)
    return log


def test_a_recorded_incident_replays_to_identical_answers(recorded: Path) -> None:
    result = replay(recorded, toy_plugins())

    assert result.difference is None
    assert result.inputs > 30
    assert result.statistics.total("succeeded") == 7
    assert result.statistics.total("cancelled") == 4
    assert result.statistics.unaccounted == 0


def test_a_changed_answer_is_found_and_shown(recorded: Path) -> None:
    lines = recorded.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if '"received": "Submit"' in line)
    changed = json.loads(lines[place])
    changed["now"] += 1.0  # the same input at another time is accepted at another time
    lines[place] = json.dumps(changed)
    recorded.write_text("\n".join(lines) + "\n")
    difference = replay(recorded, toy_plugins()).difference

    assert difference is not None
    assert difference.line == place + 1
    assert "TaskAccepted" in difference.recorded
    assert "TaskAccepted" in difference.replayed


def test_another_router_may_be_tried_on_the_recorded_day(recorded: Path) -> None:
    result = replay(recorded, toy_plugins(), router=RouterConfig(name="plain"))

    assert result.difference is None
    assert result.statistics.accepted > 0


def test_a_line_cut_short_by_a_crash_ends_the_replay_quietly(recorded: Path) -> None:
    text = recorded.read_text()
    recorded.write_text(text[:-10])

    assert replay(recorded, toy_plugins()).difference is None


@pytest.mark.parametrize(
    "content", ["", "no json\n", "[1]\n", '{"paintmq_input_log": 99}\n', '{"some": "object"}\n']
)
def test_a_file_that_is_no_input_log_is_refused_in_words(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file"
    path.write_text(content)

    with pytest.raises(ConfigError, match=str(path)):
        replay(path, toy_plugins())


def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    config = toy_config(record=str(tmp_path / "missing" / "log"))

    with pytest.raises(ConfigError, match=r"broker\.record"):
        BrokerServer(config, toy_plugins()).start()
