"""A disk that commits late, in order, and forgets what it had not committed, or damages it."""

import random
from collections.abc import Callable

from attrs import define, field

from paintmq.broker.records import Record, StoredTask, TaskChanged, apply_records, replay
from paintmq.broker.stores.rows import corrupt, decode_request, decode_status, encode
from paintmq.task import TaskId
from tests.harness.simulation.world import Agenda, Weather


@define
class SimulatedStore:
    """What survives a killed broker. Sequence numbers count records from 1."""

    agenda: Agenda
    rng: random.Random
    weather: Weather
    log: list[Record] = field(factory=list[Record], init=False)
    """Every durable record, in order."""
    last_time: float = field(default=0.0, init=False)
    """Broker time of the last durable record: the clock of a new broker starts no earlier."""
    damaged: dict[TaskId, None] = field(factory=dict[TaskId, None], init=False)
    """Tasks of which a record could not be read after a crash, and that failed therefore."""
    _tasks: dict[TaskId, StoredTask] = field(factory=dict[TaskId, StoredTask], init=False)
    """As the log says."""
    _unreadable: list[TaskId] = field(factory=list[TaskId], init=False)
    _pending: list[Record] = field(factory=list[Record], init=False)
    _under_way: int = field(default=0, init=False)
    """Records of the transaction that is being committed: the first that are pending."""
    _generation: int = field(default=0, init=False)
    _written_at: float = field(default=0.0, init=False)

    @property
    def durable(self) -> int:
        return len(self.log)

    @property
    def is_settled(self) -> bool:
        """Return whether all that was written is durable."""
        return not self._pending

    def write(
        self, records: tuple[Record, ...], committed: Callable[[], None], *, now: float
    ) -> int:
        """Take records in; return the number the last of them will have."""
        if records:
            self._pending += records
            self._written_at = now
        if self._pending and not self._under_way:
            self._commit(committed)
        return len(self.log) + len(self._pending)

    def crash(self) -> None:
        """Lose what was not committed; a lying disk loses a little more.

        The transaction under way is lost or kept as a whole, and if it was kept, the broker never
        learned of it; after a torn write some task's record cannot be read.
        """
        self._generation += 1
        if self._under_way and self.rng.random() < 0.5:
            self._keep(self._under_way)
        self._pending, self._under_way = [], 0
        if self.weather.lying_disk and self.rng.random() < 0.5:
            lost = min(len(self.log), self.rng.randint(0, 20))
            if lost:
                del self.log[-lost:]
                self._tasks = replay(self.log)
        if self._tasks and self.rng.random() < self.weather.damage:
            self._unreadable.append(self.rng.choice([*self._tasks]))

    def recover(self, *, now: float) -> None:
        """Record the ending of every task of which a part is lost, as the journal does at start."""
        for task_id in self._unreadable:
            if (task := self._tasks.get(task_id)) is not None:
                self.damaged[task_id] = None
                status = corrupt(task.status, "the record", at=now)
                self._append([TaskChanged(task_id, "finish", status)])
        self._unreadable.clear()

    def tasks(self) -> list[StoredTask]:
        """Return all tasks as they are."""
        return list(self._tasks.values())

    def read(self) -> list[StoredTask]:
        """Return what a restarted broker finds: values made of rows, none of them the old ones."""
        return [
            StoredTask(decode_request(encode(task.request)), decode_status(encode(task.status)))
            for task in self._tasks.values()
        ]

    def _append(self, records: list[Record]) -> None:
        self.log += records
        apply_records(self._tasks, records)

    def _commit(self, committed: Callable[[], None]) -> None:
        """Group commit: what is there now becomes durable together, then the next group."""
        self._under_way = len(self._pending)
        seconds = self.rng.uniform(0.0, self.weather.commit)
        self.agenda.after(seconds, self._committed, self._generation, committed)

    def _committed(self, generation: int, committed: Callable[[], None]) -> None:
        if generation != self._generation:
            return
        self._keep(self._under_way)
        self._under_way = 0
        if self._pending:
            self._commit(committed)
        committed()

    def _keep(self, count: int) -> None:
        self._append(self._pending[:count])
        del self._pending[:count]
        self.last_time = self._written_at
