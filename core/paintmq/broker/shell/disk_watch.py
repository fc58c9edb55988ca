"""Tells the machine whether the journal's disk can take new tasks."""

from attrs import define, field

from paintmq.broker.machine import BrokerMachine
from paintmq.broker.recording.observing import Recorder
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.payload_cache import PayloadCache
from paintmq.config import Limits


@define
class DiskWatch:
    """Notices when the disk is full or cannot keep up; the loop itself never waits for the disk."""

    _machine: BrokerMachine
    _journal: Journal
    _payloads: PayloadCache
    _limits: Limits
    _recorder: Recorder | None
    _full: bool = field(default=False, init=False)
    _busy: bool = field(default=False, init=False)

    def look(self, *, full: bool, now: float) -> None:
        """Tell the machine what has changed; ``full`` is what the store reports."""
        if full != self._full:
            self._full = full
            self._machine.set_disk_full(full=full)
            if self._recorder is not None:
                self._recorder.disk_full(now, full=full)
        # Hysteresis: once busy, the backlog must fall to half before new tasks are accepted again.
        busy = self._backlog() > (0.5 if self._busy else 1.0)
        if busy != self._busy:
            self._busy = busy
            self._machine.set_disk_busy(busy=busy)
            if self._recorder is not None:
                self._recorder.disk_busy(now, busy=busy)

    def _backlog(self) -> float:
        """Return the unwritten backlog as a share of what is allowed, 1.0 being all of it."""
        records = self._journal.sequence - self._journal.durable
        return max(
            records / self._limits.max_unwritten_records,
            self._payloads.unwritten_bytes / self._limits.max_unwritten_bytes,
        )
