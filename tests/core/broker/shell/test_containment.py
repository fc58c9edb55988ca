"""No plugin, peer or bug stops the broker: a fault stays inside the input that caused it (I25)."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from tests.harness.toy_broker import toy_client, toy_config, toy_plugins, toy_task, toy_worker

from paintmq.broker.machine.admission import Admission
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.worker_handler import WorkerHandler
from paintmq.broker.recording.replay import replay
from paintmq.broker.shell.containment import HOPELESS, LINES, Containment, MachineFailedError
from paintmq.broker.shell.server import BrokerServer
from paintmq.errors import StoreError
from paintmq.statistics import ShellStatistics
from paintmq.task import TaskState
from paintmq.wire.link import Link
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Ask,
    Assign,
    AttemptRecorded,
    AttemptSucceeded,
    Finished,
    Heartbeat,
    Rejected,
    Submit,
    WhoAreYou,
)

FAULTS: list[BaseException] = [ZeroDivisionError("x"), SystemExit(3), KeyboardInterrupt()]
POISON = 7
"""The priority of a task on which the broker fails."""


def failing_at(original: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """Return a method that raises where one of its arguments is, or holds, a poisonous task."""

    def method(*arguments: Any, **named: Any) -> Any:
        for each in arguments:
            request = getattr(each, "request", each)
            if getattr(request, "priority", 0) == POISON:
                raise error
        return original(*arguments, **named)

    return method


@pytest.fixture
def server() -> Iterator[BrokerServer]:
    with BrokerServer(toy_config(), toy_plugins()) as server:
        yield server
        server.stop(grace=0)


def faults_of(server: BrokerServer) -> int:
    with toy_client(server) as client:
        client.say(Ask(request_id=1, subject="statistics"))
        answer: Any = client.hear(Answer).value
    faults: int = answer["shell"]["faults"]
    return faults


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_a_task_at_whose_admission_the_broker_fails_is_refused_and_others_go_on(
    server: BrokerServer,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Admission, "decide", failing_at(Admission.decide, error))
    with toy_client(server) as alice, toy_client(server) as bob:
        alice.say(Submit(toy_task(priority=POISON)))
        bob.say(Submit(toy_task()))

        assert alice.hear(Rejected).code == "broker_error"
        assert bob.hear(Accepted).state is TaskState.QUEUED
    assert faults_of(server) == 1
    assert server.failure is None
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert "'priority': 7" in record.getMessage() or "priority=7" in record.getMessage()


def test_a_task_on_which_the_broker_fails_later_ends_as_dead_and_its_worker_goes_on(
    server: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lifecycle, "succeed", failing_at(Lifecycle.succeed, IndexError("x")))
    with toy_client(server) as alice, toy_worker(server) as worker:
        for priority, state in ((POISON, TaskState.DEAD), (0, TaskState.SUCCEEDED)):
            task = toy_task(priority=priority)
            alice.say(Submit(task))
            fence = worker.hear(Assign).assignments[0].fence
            worker.say(AttemptSucceeded(task_id=task.id, fence=fence, outputs=(), ran=0.1))
            finished = alice.hear(Finished)

            assert (finished.task_id, finished.state) == (task.id, state)
            assert worker.hear(AttemptRecorded).task_id == task.id
            worker.say(Heartbeat())  # it is at nothing any more
    assert finished.error is None
    assert faults_of(server) == 1


def test_frames_on_which_the_shell_fails_end_that_session_alone(
    server: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with toy_client(server) as alice, toy_client(server) as bob:
        bob.say(Submit(toy_task()))
        bob.hear(Accepted)
        receive = Link.receive

        def fails_once(link: Link, frames: Any) -> Any:
            if frames == [b"boo"]:
                raise RecursionError("deep")
            return receive(link, frames)

        monkeypatch.setattr(Link, "receive", fails_once)
        alice.say_raw(b"boo")
        alice.say(Submit(toy_task()))

        alice.hear(WhoAreYou)
        bob.say(Submit(toy_task()))
        bob.hear(Accepted)
    assert faults_of(server) == 1


def test_a_broker_that_fails_at_everything_ends_loudly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paintmq.broker.shell.containment.HOPELESS", -1.0)
    server = BrokerServer(toy_config(), toy_plugins())
    server.start()
    monkeypatch.setattr(WorkerHandler, "hello", failing_at(lambda *_: 1 / 0, ValueError("x")))
    with toy_worker(server), toy_worker(server):
        assert server._thread is not None
        server._thread.join(20)

        assert isinstance(server.failure, MachineFailedError)
    assert "the broker stopped by itself: every input failed" in caplog.text
    with pytest.raises(Exception, match="every input failed"):
        server.stop()


def test_what_failed_while_it_was_recorded_fails_again_in_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I17."""
    log = tmp_path / "incident.jsonl"
    monkeypatch.setattr(Lifecycle, "cancel", failing_at(Lifecycle.cancel, IndexError("x")))
    monkeypatch.setattr(Lifecycle, "accept", accept_and_fail(Lifecycle.accept))
    server = BrokerServer(toy_config(record=str(log)), toy_plugins())
    with server, toy_client(server) as alice:
        poison = toy_task(priority=POISON)
        alice.say(Submit(poison))
        alice.say(Submit(poison))  # nobody told it that it was accepted
        assert alice.hear(Finished).state is TaskState.DEAD
        alice.say(Submit(toy_task()))
        alice.hear(Accepted)
        server.stop(grace=0)

    replayed = replay(log, toy_plugins())

    assert replayed.difference is None
    assert replayed.statistics.total("dead") == 1


def accept_and_fail(original: Callable[..., Any]) -> Callable[..., Any]:
    def accept(life: Lifecycle, entry: Any, *, now: float) -> None:
        original(life, entry, now=now)
        if entry.request.priority == POISON:
            raise IndexError("after it was recorded")

    return accept


@pytest.mark.parametrize(
    "error", [StoreError("full"), zmq.ContextTerminated(), zmq.ZMQError(zmq.ENOTSOCK)], ids=repr
)
def test_what_leaves_nothing_to_go_on_with_is_not_contained(error: BaseException) -> None:
    statistics = ShellStatistics()

    with pytest.raises(type(error)):
        Containment(statistics).caught(error, lambda: "nothing")
    assert statistics.faults == 0


def test_an_interrupt_of_the_main_thread_is_not_contained() -> None:
    containment = Containment(ShellStatistics())
    with pytest.raises(KeyboardInterrupt):
        containment.caught(KeyboardInterrupt(), lambda: "nothing")

    other = threading.Thread(target=containment.caught, args=(KeyboardInterrupt(), lambda: "x"))
    other.start()
    other.join()
    assert containment._statistics.faults == 1, "only a plugin raises it there"


def test_only_faults_without_a_success_between_them_make_it_hopeless() -> None:
    containment = Containment(ShellStatistics())
    for now in (0.0, HOPELESS):
        containment.machine_failed(ValueError(), lambda: "x", now)
    containment.succeeded()
    for now in (2 * HOPELESS, 3 * HOPELESS):
        containment.machine_failed(ValueError(), lambda: "x", now)

    with pytest.raises(MachineFailedError):
        containment.machine_failed(ValueError(), lambda: "x", 3 * HOPELESS + 1)


def test_the_log_of_faults_cannot_be_flooded_and_shows_whatever_can_be_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    containment = Containment(ShellStatistics())

    class Shy:
        def __repr__(self) -> str:
            raise ValueError("not me")

    containment.caught(ValueError("a"), Shy)
    containment.caught(ValueError("b"), lambda: "long" * 1000)
    for _ in range(998):
        containment.caught(ValueError("c"), lambda: "short")

    first, second, *more = caplog.messages
    assert "cannot be shown (ValueError)" in first
    assert "(4002 characters)" in second
    assert len(second) < 2_100
    assert len(more) == LINES - 2 + 10
