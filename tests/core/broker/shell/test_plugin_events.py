"""Observers see what happens, and can hold up nobody."""

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
from tests.harness.trial_manager import Models, Routers, make_task, wait_for_acceptance

from paintmq.broker.machine import Step
from paintmq.broker.records import BrokerBooted, Record, TaskAccepted, TaskChanged, TaskPurged
from paintmq.broker.shell.plugin_events import Event, ObserverThread, event_of, start_observers
from paintmq.client.task import Task
from paintmq.plugin.manager import PluginManager
from paintmq.statistics import ShellStatistics
from paintmq.task import TaskError, TaskId, TaskRequest, TaskState
from paintmq.task_status import TaskStatus
from paintmq.testing.embedded_manager import embedded_manager

TASK = TaskId("1" * 32)
REQUEST = TaskRequest(id=TASK, task_type="inpaint", model="lama", tenant="ada", priority=3)
STATUS = TaskStatus(state=TaskState.QUEUED, queue="gpu-high", accepted_at=5.0, rank=5.0)
FAILED = TaskStatus(
    state=TaskState.FAILED,
    queue="gpu-high",
    accepted_at=5.0,
    rank=5.0,
    worker="node/cuda-0",
    attempt=2,
    started_at=6.0,
    ended_at=7.0,
    error=TaskError(code="model_error", message="no"),
)


def observed_by(hook: Callable[[Sequence[Event]], None], **settings: int) -> ObserverThread:
    plugins = PluginManager()
    plugins.register(SimpleNamespace(paintmq_events=lambda batch: hook(batch)), "observer")
    return ObserverThread(plugins, ShellStatistics(), **settings)


def step(*records: Record) -> Step:
    return Step(records, ())


@pytest.mark.parametrize(
    ("record", "event"),
    [
        (BrokerBooted(7, 1.0), {"event": "boot", "incarnation": 7, "at": 1.0}),
        (
            TaskAccepted(REQUEST, STATUS),
            {
                "event": "accept",
                "task_id": TASK,
                "task_type": "inpaint",
                "model": "lama",
                "tenant": "ada",
                "priority": 3,
                "queue": "gpu-high",
                "trace": "",
                "at": 5.0,
            },
        ),
        (
            TaskChanged(TASK, "finish", FAILED),
            {
                "event": "finish",
                "task_id": TASK,
                "state": "failed",
                "queue": "gpu-high",
                "worker": "node/cuda-0",
                "attempt": 2,
                "accepted_at": 5.0,
                "leased_at": None,
                "started_at": 6.0,
                "ended_at": 7.0,
                "error": "model_error",
            },
        ),
        (TaskPurged(TASK), {"event": "purge", "task_id": TASK}),
    ],
    ids=["boot", "accept", "finish", "purge"],
)
def test_a_record_becomes_plain_data(record: Record, event: Event) -> None:
    assert event_of(record) == event


def test_everything_is_seen_in_order_and_before_the_end() -> None:
    seen: list[Event] = []
    observers = observed_by(seen.extend)
    observers.start()

    for number in range(2500):
        observers.stepped(step(BrokerBooted(number, 0.0)))
    observers.stop()

    assert [event["incarnation"] for event in seen] == list(range(2500))
    assert observers.statistics.events_dropped == 0


def test_steps_without_records_wake_nobody() -> None:
    seen: list[Sequence[Event]] = []
    observers = observed_by(seen.append)
    observers.start()

    observers.stepped(step())
    observers.stop()

    assert seen == []


def test_a_slow_observer_loses_events_and_is_told_how_many() -> None:
    seen: list[Event] = []
    reached, released = threading.Event(), threading.Event()

    def slow(batch: Sequence[Event]) -> None:
        seen.extend(batch)
        reached.set()
        released.wait(10)

    observers = observed_by(slow, capacity=2)
    observers.start()
    observers.stepped(step(BrokerBooted(0, 0.0)))
    reached.wait(10)

    for number in range(1, 6):
        observers.stepped(step(BrokerBooted(number, 0.0)))  # returns at once, full or not
    released.set()
    observers.stop()

    assert observers.statistics.events_dropped == 3
    assert [event.get("incarnation") for event in seen] == [0, 1, 2, None]
    assert seen[-1] == {"event": "dropped", "count": 3}


def test_an_observer_that_never_returns_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()

    def never_returns(batch: Sequence[Event]) -> None:
        released.wait(10)

    observers = observed_by(never_returns)
    observers.start()
    observers.stepped(step(BrokerBooted(0, 0.0)))

    observers.stop(timeout=0.01)

    assert "does not return" in caplog.text
    released.set()


def test_an_observer_that_raises_does_not_end_the_thread() -> None:
    seen: list[int] = []

    def fails(batch: Sequence[Event]) -> None:
        seen.append(len(batch))
        raise SystemExit

    observers = observed_by(fails)
    observers.start()
    observers.stepped(step(BrokerBooted(0, 0.0)))
    observers.stop()

    assert seen == [1]


def test_a_broker_tells_observers_what_it_decides() -> None:
    seen: list[Event] = []
    plugins = PluginManager.installed()
    plugins.register(SimpleNamespace(paintmq_events=lambda batch: seen.extend(batch)), "observer")
    task = Task("inpaint", {"model": "opencv"}, tenant="ada")

    with embedded_manager(plugins=plugins, workers=0) as manager:
        manager.send_task(manager.route_task(task), task).cancel(timeout=10)

    mine = [event for event in seen if event.get("task_id") == task.id]
    assert [event["event"] for event in mine][:2] == ["accept", "finish"]
    assert (mine[0]["tenant"], mine[1]["state"]) == ("ada", "cancelled")


def test_without_observers_there_is_no_thread() -> None:
    assert start_observers(PluginManager(), ShellStatistics()) is None


def test_an_observer_that_exits_does_not_end_the_observation() -> None:
    """I25."""
    seen: list[Event] = []
    has_seen = threading.Event()

    def exits_once(batch: Sequence[Event]) -> None:
        seen.extend(batch)
        if len(seen) == 1:
            has_seen.set()
            raise SystemExit(3)

    plugins = PluginManager()
    plugins.register(SimpleNamespace(paintmq_events=exits_once), "observer")
    observers = ObserverThread(plugins, ShellStatistics())
    observers.stepped(step(BrokerBooted(0, 0.0)))
    observers.start()
    assert has_seen.wait(20)
    observers.stepped(step(BrokerBooted(1, 0.0)))
    observers.stop()

    assert [event["incarnation"] for event in seen] == [0, 1]


def test_plugins_get_the_events_of_clients_by_the_same_numbers() -> None:
    plugins = PluginManager()
    plugins.register(Models(), "models")
    plugins.register(Routers(), "router")
    seen: list[Event] = []
    ended = threading.Event()

    def observe(batch: Sequence[Event]) -> None:
        seen.extend(batch)
        if any(event["event"] == "finish" for event in batch):
            ended.set()

    plugins.register(SimpleNamespace(paintmq_events=lambda batch: observe(batch)), "observer")
    with embedded_manager(workers=0, plugins=plugins) as manager:
        handle = manager.submit(make_task())
        wait_for_acceptance(handle)
        handle.cancel()
        told = {event["number"]: event for event in manager.events(after=0, follow=False)}
        assert ended.wait(30)

    numbered = [event for event in seen if "number" in event][: len(told)]
    assert [event["number"] for event in numbered] == sorted(told)
    for event in numbered:
        number = event["number"]
        assert isinstance(number, int)
        same = {"kind", "at", "queue"} | (
            {"task_id", "state"} if event["kind"] == "task" else set()
        )
        assert {key: event[key] for key in same} == {key: told[number][key] for key in same}
        assert event["what"] == told[number]["event"]
    told_of = [event["event"] for event in numbered if event["kind"] == "task"]
    assert told_of[:2] == ["accept", "finish"]
    assert told_of[2:] in ([], ["acknowledge"]), "it may have been confirmed by then"
    assert [event["event"] for event in seen if "number" not in event] == ["boot"]
