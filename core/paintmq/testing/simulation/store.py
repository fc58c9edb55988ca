"""A disk that commits late, in order, and forgets what it had not committed."""

import random
from collections.abc import Callable

from attrs import define, field

from paintmq.broker.records import Record, StoredTask, TaskAccepted, TaskChanged, TaskPurged
from paintmq.task import TaskId
from paintmq.testing.simulation.world import Agenda, Weather


@define
class SimulatedStore:
    """What survives a killed broker. Sequence numbers count records from 1."""

    agenda: Agenda
    rng: random.Random
    weather: Weather
    log: list[Record] = field(factory=list[Record], init=False)
    """Every durable record, in order."""
    forgotten: int = field(default=0, init=False)
    """Records that were never durable, or that a lying disk lost."""
    _pending: list[Record] = field(factory=list[Record], init=False)
    _commit_under_way: bool = field(default=False, init=False)
    _generation: int = field(default=0, init=False)

    @property
    def durable(self) -> int:
        return len(self.log)

    @property
    def is_settled(self) -> bool:
        """Return whether all that was written is durable."""
        return not self._pending

    def write(self, records: tuple[Record, ...], committed: Callable[[], None]) -> int:
        """Take records in; return the number the last of them will have."""
        self._pending += records
        if self._pending and not self._commit_under_way:
            self._commit(committed)
        return len(self.log) + len(self._pending)

    def crash(self) -> None:
        """Lose what was not committed; a lying disk loses a little more."""
        self._generation += 1
        self.forgotten += len(self._pending)
        self._pending, self._commit_under_way = [], False
        if self.weather.lying_disk and self.rng.random() < 0.5:
            lost = min(len(self.log), self.rng.randint(0, 20))
            if lost:
                del self.log[-lost:]
                self.forgotten += lost

    def tasks(self) -> list[StoredTask]:
        """Return what a restarted broker finds."""
        tasks: dict[TaskId, StoredTask] = {}
        for record in self.log:
            match record:
                case TaskAccepted(request, status):
                    tasks[request.id] = StoredTask(request, status)
                case TaskChanged(task_id, _, status):
                    tasks[task_id] = StoredTask(tasks[task_id].request, status)
                case TaskPurged(task_id):
                    del tasks[task_id]
                case _:
                    pass
        return list(tasks.values())

    def _commit(self, committed: Callable[[], None]) -> None:
        """Group commit: what is there now becomes durable together, then the next group."""
        self._commit_under_way = True
        group, generation = len(self._pending), self._generation

        def done() -> None:
            if generation != self._generation:
                return
            self.log += self._pending[:group]
            del self._pending[:group]
            self._commit_under_way = False
            if self._pending:
                self._commit(committed)
            committed()

        self.agenda.after(self.rng.uniform(0.0, self.weather.commit), done)
