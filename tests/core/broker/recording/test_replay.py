"""What a broker was told, written to a file, leads a fresh machine to the very same answers."""

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.simulation.broker import SimulatedBroker
from tests.harness.simulation.cluster import SimulatedCluster
from tests.harness.toy_broker import (
    picture_task,
    toy_client,
    toy_config,
    toy_plugins,
    toy_task,
    toy_worker,
)

from paintmq.broker.machine import BrokerMachine
from paintmq.broker.recording.input_log import InputLog
from paintmq.broker.recording.replay import replay
from paintmq.broker.shell.server import BrokerServer
from paintmq.config import Config, RouterConfig
from paintmq.errors import ConfigError
from paintmq.hookspecs import RegisterModel, RegisterRouter
from paintmq.model import ModelSpec
from paintmq.plugin.manager import PluginManager
from paintmq.routing import BacklogView, BoardView, Router, WorkerView
from paintmq.task import TaskError
from paintmq.testing.example_tasks import describe
from paintmq.testing.plain_router import PlainRouter
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


class PicturesFirst(Router):
    """Another opinion than first come, first served."""

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        return 2.0 if backlog.model == "picture" else 1.0

    def paintmq_register_routers(self, register: RegisterRouter) -> None:
        register("pictures-first", lambda parameters: PicturesFirst())


class SimulatedModels:
    """What a simulated broker has installed."""

    def __init__(self, specs: Sequence[ModelSpec]) -> None:
        self.specs = specs

    def paintmq_register_models(self, register: RegisterModel) -> None:
        for spec in self.specs:
            register(spec)

    def paintmq_register_routers(self, register: RegisterRouter) -> None:
        register("plain", lambda parameters: PlainRouter())


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


def test_a_recording_is_its_owners_alone(recorded: Path) -> None:
    assert recorded.stat().st_mode & 0o777 == 0o600


def test_a_pipe_that_is_not_read_is_refused_as_a_recording_instead_of_waited_for(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ConfigError, match=r"broker\.record: .*pipe cannot be written"):
        InputLog(tmp_path / "pipe", toy_config(), incarnation=1, models=())


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


def test_a_router_that_was_replaced_is_replaced_in_the_replay_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    plugins = toy_plugins()
    plugins.register(PicturesFirst(), "opinion")
    other = evolve(toy_config(), router=RouterConfig(name="pictures-first"))
    server = BrokerServer(toy_config(record=str(log)), plugins, reread=lambda: other)
    with server, toy_client(server) as client:
        for request, payloads in ((toy_task(), []), (picture_task(b"picture"), [b"picture"])):
            client.say(Submit(request), payloads)
            client.hear(Accepted)
        server.reload()
        assert server.router_name == "pictures-first"
        with toy_worker(server) as worker:
            assert worker.hear(Assign).assignments[0].task.model == "picture"
        server.stop(grace=0)
    lines = log.read_text().splitlines(keepends=True)
    result = replay(log, plugins)
    forgetful = [line for line in lines if '"rerouted"' not in line]
    log.write_text("".join(forgetful))

    assert result.difference is None
    assert len(forgetful) == len(lines) - 1
    assert replay(log, plugins).difference is not None, "routers that agree would show nothing"


@pytest.mark.slow
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_whatever_a_broker_was_told_replays_to_the_same_answers_and_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """I17: every life of a simulated broker, in any weather."""
    folder = tmp_path_factory.mktemp("lives")
    lives: dict[Path, BrokerMachine | None] = {}

    def record(broker: SimulatedBroker) -> InputLog:
        path = folder / str(broker.starts)
        cluster.agenda.after(0.0, lambda: lives.update({path: broker.machine}))  # made by then
        config = Config(
            queues=broker.queues,
            timers=broker.timers,
            limits=broker.limits,
            router=RouterConfig(name="plain"),
        )
        models = [spec.name for spec in broker.specs]
        return InputLog(path, config, incarnation=broker.starts, models=models)

    cluster = SimulatedCluster(seed, hours=0.05)
    cluster.broker.record = record
    cluster.run()
    cluster.broker.stop_recording()
    plugins = PluginManager()
    plugins.register(SimulatedModels(cluster.broker.specs), "simulated")
    for path, machine in lives.items():
        assert machine is not None
        result = replay(path, plugins)

        assert result.difference is None
        assert result.tasks == machine.stored()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is no input log"),
        ("no json\n", "is no input log"),
        ("[1]\n", "line 1 is no object"),
        ('{"paintmq_input_log": 99}\n', "newer PaintMQ .format 99, this one knows 5.: update"),
        ('{"some": "object"}\n', "it may be the end of one"),
    ],
)
def test_a_file_that_is_no_input_log_is_refused_in_words(
    tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "file"
    path.write_text(content)

    with pytest.raises(ConfigError, match=f"{path}.*{reason}"):
        replay(path, toy_plugins())


def test_a_log_of_an_older_format_is_read_through_another_router_alone(recorded: Path) -> None:
    """Its answers cannot be compared: records have more fields now."""
    first, _, rest = recorded.read_text().partition("\n")
    header = json.loads(first)
    header["paintmq_input_log"] = 1
    del header["models"]
    recorded.write_text(f"{json.dumps(header)}\n{rest}")

    again = replay(recorded, toy_plugins(), router=RouterConfig(name="tunable"))
    assert (again.difference, bool(again.tasks)) == (None, True)
    with pytest.raises(ConfigError, match=r"older PaintMQ .format 1.*replay it with that version"):
        replay(recorded, toy_plugins())


def test_a_log_whose_beginning_is_missing_is_refused_in_words(recorded: Path) -> None:
    recorded.write_text("".join(recorded.read_text().splitlines(keepends=True)[3:]))

    with pytest.raises(ConfigError, match="it may be the end of one"):
        replay(recorded, toy_plugins())


def test_a_log_of_a_broker_with_other_models_is_refused_naming_them(recorded: Path) -> None:
    with pytest.raises(ConfigError, match="not here: picture, toy; install their plugins"):
        replay(recorded, PluginManager())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda config: config["limits"].update(gremlins=3), "gremlins"),
        (
            lambda config: config["timers"].pop("lease") and config["timers"].update(leash=3),
            "leash",
        ),
        (lambda config: config.pop("queues"), "queues"),
    ],
)
def test_settings_that_this_version_does_not_have_are_refused_in_words(
    recorded: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    first, _, rest = recorded.read_text().partition("\n")
    header = json.loads(first)
    change(header["config"])
    recorded.write_text(f"{json.dumps(header)}\n{rest}")

    with pytest.raises(ConfigError, match=f"settings that this PaintMQ does not have: .*{reason}"):
        replay(recorded, toy_plugins())


def test_a_log_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    config = toy_config(record=str(tmp_path / "missing" / "log"))

    with pytest.raises(ConfigError, match=r"broker\.record"):
        BrokerServer(config, toy_plugins()).start()


def test_a_recording_that_cannot_go_on_ends_and_the_broker_works_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I25. What was written until then can be replayed."""
    log = tmp_path / "incident.jsonl"
    with BrokerServer(toy_config(record=str(log)), toy_plugins()) as server:
        with toy_client(server) as client:
            client.say(Submit(toy_task()))
            client.hear(Accepted)

            def full(self: InputLog, line: dict[str, Any]) -> None:
                self._file.write("half a li")
                raise OSError(errno.ENOSPC, "No space left on device")

            monkeypatch.setattr(InputLog, "_write_line", full)
            for _ in range(3):
                client.say(Submit(toy_task()))
                client.hear(Accepted)
        server.stop(grace=0)

    assert [each for each in caplog.messages if "the recording ends here" in each] == [
        f"the recording ends here: {log} cannot be written: [Errno 28] No space left on device"
    ]
    assert replay(log, toy_plugins()).statistics.total("accepted") == 1


def test_a_recording_that_cannot_begin_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"broker.record: /dev/full cannot be written"):
        BrokerServer(toy_config(record="/dev/full"), toy_plugins()).start()
