"""The thread in which plugins observe what happens to tasks, off the broker's hot path.

Of progress the latest of each task is kept until what was counted is told, so that it is neither
told before the task runs nor after it has ended, and is no flood.

The broker only puts records into a bounded queue. When observers cannot keep up, records are
dropped and counted, and the next batch says how many: an observer must not slow down the work.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias, assert_never

from paintmq.broker.accounting.events import tell_of
from paintmq.broker.accounting.happening import Happening, Note
from paintmq.broker.records import (
    BrokerBooted,
    Record,
    SettingsChanged,
    StoredTask,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
)
from paintmq.statistics import ShellStatistics
from paintmq.task import Json, TaskId, TaskRequest
from paintmq.task_status import TaskStatus

if TYPE_CHECKING:
    from paintmq.broker.machine import Step
    from paintmq.plugin.manager import PluginManager

CAPACITY = 10_000
"""Steps of the machine that may wait to be observed."""
BATCH = 1_000
"""Most events handed over in one call."""
FAREWELL = 2.0
"""Seconds that observers have to take the last events when the broker stops."""

Event: TypeAlias = Mapping[str, Json]
_Progress: TypeAlias = tuple[StoredTask, int, int, float]
"""A task, a step of a total, and when."""

_TOLD_AS_HAPPENINGS = (TaskAccepted, TaskChanged)
_JOURNALS_WORDS: Mapping[str, str] = {
    "load": "start",
    "run": "start",
    "retry": "requeue",
    "succeed": "finish",
    "fail": "finish",
    "cancel": "finish",
    "expire": "finish",
    "give up": "finish",
}

logger = logging.getLogger(__name__)


class ObserverThread:
    """Delivers events to plugins; an Observer of the broker's loop."""

    def __init__(
        self, plugins: "PluginManager", statistics: ShellStatistics, *, capacity: int = CAPACITY
    ) -> None:
        self.statistics = statistics
        self._plugins = plugins
        self._queue: queue.Queue[Callable[[], Iterator[Event]] | None] = queue.Queue(capacity)
        self._numbered = False
        self._wants_events = plugins.observes_events
        self._wants_progress = plugins.observes_progress
        self._progress: dict[TaskId, _Progress] = {}
        """The latest of each task; for the broker's thread."""
        self._reported = 0  # of the dropped; the broker's thread counts, ours reports
        self._thread = threading.Thread(target=self._run, name="plugin-observers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = FAREWELL) -> None:
        """Wait up to ``timeout`` seconds for observers to take what is left, then give up."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            logger.warning("observers are far behind; their last events are lost")
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            logger.warning("an observer does not return; its last events may be lost")

    def stepped(self, step: "Step") -> None:
        """Queue what the machine decided. Never waits."""
        records = step.records if self._wants_events else ()
        if records and self._numbered:
            records = tuple([each for each in records if not isinstance(each, _TOLD_AS_HAPPENINGS)])
        if records:
            self._put(partial(map, event_of, records), len(records))

    def number_events(self) -> None:
        """Take what happens to tasks, workers and queues from ``happened`` from now on."""
        self._numbered = True

    def happened(self, last: int, now: float, happenings: Sequence[Happening]) -> None:
        """Queue what was counted: the events of ``Client.events`` with their numbers, of which
        ``last`` is that of the last. Never waits.
        """
        if happenings and self._wants_events:
            first = last - len(happenings) + 1
            self._put(partial(_numbered, first, now, happenings), len(happenings))
        if self._progress:
            self._tell_progress(happenings)

    def took_over(self, tasks: Sequence[StoredTask], now: float) -> None:
        """Queue the tasks that a broker has begun with. Never waits."""
        if tasks and self._wants_events:
            self._put(partial(map, partial(restored_event, now), tasks), len(tasks))

    def progressed(self, task: StoredTask, step: int, total: int, now: float) -> None:
        """Keep how far a running task is until it is told. Never waits."""
        if self._wants_progress:
            self._progress[task.request.id] = task, step, total, now
            if not self._numbered:
                self._tell_progress(())

    def _tell_progress(self, happenings: Sequence[Happening]) -> None:
        latest = {each[1].id: each[2] for each in happenings if not isinstance(each, Note)}
        for task_id, status in latest.items():
            kept = self._progress.get(task_id)
            if kept is not None and not (
                status.state.is_leased and status.has_fence(kept[0].status.fence)
            ):
                del self._progress[task_id]  # that attempt is over
        told, self._progress = self._progress, {}
        if told:
            self._put(partial(map, _progress_event, told.values()), len(told))

    def _put(self, events: Callable[[], Iterator[Event]], count: int) -> None:
        try:
            self._queue.put_nowait(events)
        except queue.Full:
            self.statistics.events_dropped += count

    def _run(self) -> None:
        while True:
            batch: list[Event] = []
            events = self._queue.get()
            while events is not None:
                batch += events()
                if len(batch) >= BATCH or self._queue.empty():
                    break
                events = self._queue.get()
            missed = self.statistics.events_dropped - self._reported
            if missed:
                self._reported += missed
                batch.append({"event": "dropped", "count": missed})
            if batch:
                self._deliver(batch)
            if events is None:
                return

    def _deliver(self, batch: list[Event]) -> None:
        try:
            for is_progress, group in groupby(batch, lambda each: each["event"] == "progress"):
                if is_progress:
                    self._plugins.deliver_progress(list(group))
                else:
                    self._plugins.deliver_events(list(group))
        except BaseException:  # a plugin may even exit; the others go on observing
            logger.exception("observers failed at %d events", len(batch))


def start_observers(plugins: "PluginManager", statistics: ShellStatistics) -> ObserverThread | None:
    """Start the thread, if any plugin wants events."""
    if not (plugins.observes_events or plugins.observes_progress):
        return None
    observers = ObserverThread(plugins, statistics)
    observers.start()
    return observers


def _numbered(first: int, now: float, happenings: Sequence[Happening]) -> Iterator[Event]:
    for number, happening in enumerate(happenings, first):
        yield numbered_event(number, now, happening)


def numbered_event(number: int, now: float, happening: Happening) -> Event:
    """Return what ``Client.events`` tells of it, and what else is known.

    ``event`` is the journal's word for it, as in ``event_of``; the word of ``Client.events`` is
    ``what``.
    """
    told = tell_of(number, now, happening)
    if isinstance(happening, Note):
        return {**told, "what": told["event"]}
    event, request, status, _ = happening
    return {
        **told,
        "event": _JOURNALS_WORDS.get(event, event),
        "what": told["event"],
        "error": told.get("error", ""),
        "priority": request.priority,
        "trace": request.trace,
        **_times(status),
    }


def restored_event(now: float, task: StoredTask) -> Event:
    """Return a task that a broker has begun with as plain data."""
    return {
        "event": "restored",
        "what": "restored",
        "kind": "task",
        "at": now,
        **_as_asked(task.request),
        **_as_it_stands(task.status),
    }


def _progress_event(progress: _Progress) -> Event:
    task, step, total, now = progress
    return {
        "event": "progress",
        "at": now,
        "task_id": task.request.id,
        "model": task.request.model,
        "tenant": task.request.tenant,
        "queue": task.status.queue,
        "worker": task.status.worker,
        "attempt": task.status.attempt,
        "step": step,
        "total": total,
    }


def event_of(record: Record) -> Event:
    """Return a record as plain data: ``event`` says what happened, times are broker seconds."""
    match record:
        case BrokerBooted(incarnation, at):
            return {"event": "boot", "incarnation": incarnation, "at": at}
        case TaskAccepted(request, status):
            return {
                "event": "accept",
                **_as_asked(request),
                "queue": status.queue,
                "trace": request.trace,
                "at": status.accepted_at,
            }
        case TaskChanged(task_id, event, status):
            return {"event": event, "task_id": task_id, **_as_it_stands(status)}
        case SettingsChanged(changes, at):
            return {"event": "settings", "changes": changes, "at": at}
        case TaskPurged(task_id):
            return {"event": "purge", "task_id": task_id}
        case _:
            assert_never(record)


def _as_asked(request: TaskRequest) -> Event:
    return {
        "task_id": request.id,
        "task_type": request.task_type,
        "model": request.model,
        "tenant": request.tenant,
        "priority": request.priority,
    }


def _as_it_stands(status: TaskStatus) -> Event:
    return {
        "state": status.state.value,
        "queue": status.queue,
        "worker": status.worker,
        "attempt": status.attempt,
        **_times(status),
        "error": status.error.code if status.error is not None else "",
    }


def _times(status: TaskStatus) -> Event:
    return {
        "accepted_at": status.accepted_at,
        "leased_at": status.leased_at,
        "started_at": status.started_at,
        "ended_at": status.ended_at,
    }
