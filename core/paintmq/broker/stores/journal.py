"""Numbers the broker's records and hands them to the store."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from paintmq.broker.records import Record, Recovered
from paintmq.broker.stores import BackupState, Collected, Entry, PayloadKey, Store
from paintmq.broker.stores.story import StoryLine
from paintmq.task import TaskId
from paintmq.wire.transfer import Payload, joined


class Journal:
    """The sequence of records of one run of the broker, over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.sequence = 0
        """Number of the last record written."""
        self.durable = 0
        """Number of the last record that will survive."""

    @property
    def keeps_payloads(self) -> bool:
        return self._store.keeps_payloads

    def confirm(self) -> bool:
        """Return whether this broker still leads for certain; see ``Store.confirm``.

        Raises:
            StoreError: it does not, or the journal failed.
        """
        return self._store.confirm()

    def read_log_after(self, sequence: int) -> None:
        """Have ``open`` return the records after this one too; see ``Store.read_log_after``."""
        self._store.read_log_after(sequence)

    @property
    def needs_payloads(self) -> bool:
        return self._store.needs_payloads

    def open(self, wake: Callable[[], None]) -> Recovered:
        """Open the store and go on counting where it ends.

        Raises:
            StoreError: the store cannot be used.
        """
        recovered = self._store.open(wake)
        self.sequence = self.durable = recovered.durable_sequence
        return recovered

    def write(
        self,
        records: Sequence[Record],
        payloads: Mapping[int, Sequence[tuple[PayloadKey, Payload]]],
        *,
        now: float,
    ) -> int:
        """Write records; ``payloads`` belong to the record at that place. Returns the number that
        must be durable before anything said after this call may leave.
        """
        if not records:
            return self.sequence
        first = self.sequence + 1
        entries = [Entry(number, now, record) for number, record in enumerate(records, first)]
        for place, items in payloads.items() if self.needs_payloads else ():
            whole = tuple((key, joined(data)) for key, data in items)
            entries[place] = Entry(first + place, now, records[place], whole)
        self._store.append_all(entries)
        self.sequence += len(entries)
        return self.sequence

    def fetch(self, key: PayloadKey) -> None:
        """Ask for a payload; ``collect`` brings it."""
        self._store.fetch(key)

    def collect(self) -> Collected:
        """Return what the store has done meanwhile.

        Raises:
            StoreError: writing failed; the broker must stop.
        """
        collected = self._store.collect()
        self.durable = collected.durable_sequence
        return collected

    def back_up(self, path: Path) -> BackupState:
        """Start a backup to that path, or return how far it is; see ``Store.back_up``."""
        return self._store.back_up(path)

    def story(self, task_id: TaskId) -> Sequence[StoryLine] | None:
        """Return a task's transitions from the log; None: ask again. See ``Store.story``."""
        return self._store.story(task_id)

    def close(self) -> None:
        """Make everything durable and close the store.

        Raises:
            StoreError: that failed.
        """
        self._store.close()
