"""What observers are told that no record tells: progress, and what a broker began with."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from tests.harness.toy_broker import toy_client, toy_config, toy_plugins, toy_task, toy_worker

from paintmq.broker.records import StoredTask
from paintmq.broker.shell.plugin_events import ObserverThread
from paintmq.broker.shell.server import BrokerServer
from paintmq.config import Config, MonitoringConfig
from paintmq.plugin.manager import PluginManager
from paintmq.statistics import ShellStatistics
from paintmq.task import Fence, TaskId, TaskRequest, TaskState
from paintmq.task_status import TaskStatus
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
    Submit,
)

TASK = TaskId("1" * 32)
REQUEST = TaskRequest(id=TASK, task_type="inpaint", model="lama")
RUNNING = TaskStatus(
    state=TaskState.RUNNING, queue="gpu-high", accepted_at=5.0, rank=5.0, attempt=1, worker="w"
)


class Watcher:
    """A plugin that keeps what it is told, in order, and can be waited for."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []
        self._arrived = threading.Condition()

    def paintmq_events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        with self._arrived:
            self.told.extend(batch)
            self._arrived.notify_all()

    paintmq_progress = paintmq_events

    def wait_for(self, what: str) -> Mapping[str, Any]:
        def arrived() -> Mapping[str, Any] | None:
            return next((each for each in self.told if each["event"] == what), None)

        with self._arrived:
            found = self._arrived.wait_for(arrived, 30)
        assert found is not None, f"no {what}: {self.told}"
        return found


def served(watcher: Watcher, config: Config) -> BrokerServer:
    plugins = toy_plugins()
    plugins.register(watcher, "watcher")
    return BrokerServer(config, plugins)


def test_progress_is_told_between_the_beginning_and_the_end_of_a_run() -> None:
    for monitoring in (MonitoringConfig(), MonitoringConfig(enabled=False)):
        watcher = Watcher()
        task = toy_task(tenant="studio")
        with (
            served(watcher, evolve(toy_config(), monitoring=monitoring)) as server,
            toy_client(server) as client,
            toy_worker(server) as worker,
        ):
            client.say(Submit(task))
            (item,) = worker.hear(Assign).assignments
            ids: dict[str, Any] = {"task_id": item.task.id, "fence": item.fence}
            stale = Fence(item.fence.incarnation, item.fence.attempt + 1)
            worker.say(AttemptStarted(**ids, loading=False))
            worker.say(AttemptProgressed(task_id=task.id, fence=stale, step=9, total=9))
            worker.say(AttemptProgressed(**ids, step=3, total=8))
            progress = watcher.wait_for("progress")
            worker.say(AttemptSucceeded(**ids, outputs=(), ran=0.1))
            watcher.wait_for("finish")

        mine = [each["event"] for each in watcher.told if each.get("task_id") == task.id]
        assert mine[:2] == ["accept", "lease"]
        assert mine.index("start") < mine.index("progress") < mine.index("finish")
        wanted = {"step": 3, "total": 8, "queue": "cpu-light", "tenant": "studio", "attempt": 1}
        assert wanted.items() <= progress.items()


def test_of_many_steps_the_latest_is_told_and_none_after_the_end() -> None:
    told: list[Mapping[str, Any]] = []
    observers = observed_by(told.extend)
    observers.number_events()
    task = StoredTask(REQUEST, RUNNING)
    for step in range(1000):
        observers.progressed(task, step, 1000, float(step))
    observers.happened(0, 999.0, ())
    observers.progressed(task, 1000, 1000, 1000.0)
    ended = RUNNING.changed(state=TaskState.SUCCEEDED)
    observers.happened(1, 1000.0, [("succeed", REQUEST, ended, TaskState.RUNNING)])
    observers.start()
    observers.stop()

    assert [each["step"] for each in told] == [999]


def test_progress_of_an_attempt_that_was_replaced_is_not_told() -> None:
    told: list[Mapping[str, Any]] = []
    observers = observed_by(told.extend)
    observers.number_events()
    observers.progressed(StoredTask(REQUEST, RUNNING), 5, 9, 1.0)
    second = RUNNING.changed(state=TaskState.LEASED, attempt=2)
    observers.happened(1, 2.0, [("lease", REQUEST, second, TaskState.QUEUED)])
    observers.start()
    observers.stop()

    assert told == []


def observed_by(take: Callable[[Sequence[Mapping[str, Any]]], None]) -> ObserverThread:
    plugins = PluginManager()
    plugins.register(SimpleNamespace(paintmq_progress=lambda batch: take(batch)), "observer")
    return ObserverThread(plugins, ShellStatistics())


def test_plugins_that_want_progress_alone_are_told_of_nothing_else() -> None:
    told: list[Mapping[str, Any]] = []
    observers = observed_by(told.extend)
    observers.took_over([StoredTask(REQUEST, RUNNING)], 1.0)
    observers.progressed(StoredTask(REQUEST, RUNNING), 1, 2, 1.0)
    observers.start()
    observers.stop()

    assert [each["event"] for each in told] == ["progress"]


def test_a_broker_that_starts_tells_of_each_task_in_its_journal(tmp_path: Path) -> None:
    first, second = Watcher(), Watcher()
    task = toy_task(tenant="studio", priority=4)
    with served(first, toy_config(tmp_path)) as server, toy_client(server) as client:
        client.say(Submit(task))
        client.hear(Accepted)
    with served(second, toy_config(tmp_path)):
        restored = second.wait_for("restored")

    assert [each["event"] for each in first.told if "restored" in each["event"]] == []
    wanted = {"task_id": task.id, "state": "queued", "tenant": "studio", "priority": 4}
    assert wanted.items() <= restored.items()
    assert [each["event"] for each in second.told[:2]] == ["boot", "restored"]
