"""The thread in which plugins observe what happens to tasks, off the broker's hot path.

The broker only puts records into a bounded queue. When observers cannot keep up, records are
dropped and counted, and the next batch says how many: an observer must not slow down the work.
"""

import logging
import queue
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias, assert_never

from paintmq.broker.records import (
    BrokerBooted,
    Record,
    SettingsChanged,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
)
from paintmq.statistics import ShellStatistics
from paintmq.task import Json

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

logger = logging.getLogger(__name__)


class ObserverThread:
    """Delivers events to plugins; an Observer of the broker's loop."""

    def __init__(
        self, plugins: "PluginManager", statistics: ShellStatistics, *, capacity: int = CAPACITY
    ) -> None:
        self.statistics = statistics
        self._plugins = plugins
        self._queue: queue.Queue[tuple[Record, ...] | None] = queue.Queue(capacity)
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
        if step.records:
            try:
                self._queue.put_nowait(step.records)
            except queue.Full:
                self.statistics.events_dropped += len(step.records)

    def _run(self) -> None:
        while True:
            batch: list[Event] = []
            records = self._queue.get()
            while records is not None:
                batch += map(event_of, records)
                if len(batch) >= BATCH or self._queue.empty():
                    break
                records = self._queue.get()
            missed = self.statistics.events_dropped - self._reported
            if missed:
                self._reported += missed
                batch.append({"event": "dropped", "count": missed})
            if batch:
                self._deliver(batch)
            if records is None:
                return

    def _deliver(self, batch: list[Event]) -> None:
        try:
            self._plugins.deliver_events(batch)
        except BaseException:  # a plugin may even exit; the others go on observing
            logger.exception("observers failed at %d events", len(batch))


def start_observers(plugins: "PluginManager", statistics: ShellStatistics) -> ObserverThread | None:
    """Start the thread, if any plugin wants events."""
    if not plugins.observes_events:
        return None
    observers = ObserverThread(plugins, statistics)
    observers.start()
    return observers


def event_of(record: Record) -> Event:
    """Return a record as plain data: ``event`` says what happened, times are broker seconds."""
    match record:
        case BrokerBooted(incarnation, at):
            return {"event": "boot", "incarnation": incarnation, "at": at}
        case TaskAccepted(request, status):
            return {
                "event": "accept",
                "task_id": request.id,
                "task_type": request.task_type,
                "model": request.model,
                "tenant": request.tenant,
                "priority": request.priority,
                "queue": status.queue,
                "at": status.accepted_at,
            }
        case TaskChanged(task_id, event, status):
            return {
                "event": event,
                "task_id": task_id,
                "state": status.state.value,
                "queue": status.queue,
                "worker": status.worker,
                "attempt": status.attempt,
                "accepted_at": status.accepted_at,
                "started_at": status.started_at,
                "ended_at": status.ended_at,
                "error": status.error.code if status.error is not None else "",
            }
        case SettingsChanged(changes, at):
            return {"event": "settings", "changes": changes, "at": at}
        case TaskPurged(task_id):
            return {"event": "purge", "task_id": task_id}
        case _:
            assert_never(record)
