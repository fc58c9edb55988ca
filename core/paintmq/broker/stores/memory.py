"""The store of a broker that need not outlive its process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from paintmq.broker.records import Recovered
from paintmq.broker.stores.store import BackupState, Collected, Entry, PayloadKey, Store
from paintmq.broker.stores.story import StoryLine
from paintmq.errors import StoreError
from paintmq.task import TaskId


class MemoryStore(Store):
    """Counts records and forgets them: the machine's own state is all there is."""

    keeps_payloads: ClassVar[bool] = False
    needs_payloads: ClassVar[bool] = False

    def __init__(self) -> None:
        self._sequence = 0

    def open(self, wake: Callable[[], None]) -> Recovered:
        return Recovered()

    def append(self, entry: Entry) -> None:
        self._sequence = entry.sequence

    def fetch(self, key: PayloadKey) -> None:
        raise LookupError(f"a memory store holds no payloads, not even {key}")

    def collect(self) -> Collected:
        return Collected(durable_sequence=self._sequence)

    def back_up(self, path: Path) -> BackupState:
        raise StoreError(
            "this broker keeps its journal in memory (broker.durability): there is nothing on disk"
        )

    def story(self, task_id: TaskId) -> Sequence[StoryLine] | None:
        raise StoreError(
            "this broker keeps its journal in memory (broker.durability): tasks leave no log"
        )

    def close(self) -> None:
        pass
