"""Tells the machine whether the journal's disk can take new tasks."""

from attrs import define, field

from paintmq.broker.machine import BrokerMachine
from paintmq.broker.recording.observing import Recorder
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.payload_cache import PayloadCache
from paintmq.config import Limits


@define
class DiskWatch:
    """Notices when the disk is full, or too slow for what comes; the loop never waits for it."""

    _machine: BrokerMachine
    _journal: Journal
    _payloads: PayloadCache
    _limits: Limits
    _recorder: Recorder | None
    _full: bool = field(default=False, init=False)
    _busy: bool = field(default=False, init=False)

    def look(self, *, full: bool, now: float) -> None:
        """Pass on what has changed; ``full`` is what the store says."""
        if full != self._full:
            self._full = full
            self._machine.set_disk_full(full=full)
            if self._recorder is not None:
                self._recorder.disk_full(now, full=full)
        # Once it is busy, half of what made it so must be written before it no longer is.
        busy = self._backlog() > (0.5 if self._busy else 1.0)
        if busy != self._busy:
            self._busy = busy
            self._machine.set_disk_busy(busy=busy)
            if self._recorder is not None:
                self._recorder.disk_busy(now, busy=busy)

    def _backlog(self) -> float:
        """Return how much of what may wait to be written waits."""
        records = self._journal.sequence - self._journal.durable
        return max(
            records / self._limits.max_unwritten_records,
            self._payloads.unwritten_bytes / self._limits.max_unwritten_bytes,
        )
