"""The cancels that have no answer yet, and when to repeat each. Pure."""

import random
from collections.abc import Iterator
from math import inf

from attrs import define, field

from paintmq.task import TaskId


@define
class PendingCancels:
    """Task ids in the order they were cancelled."""

    rng: random.Random
    interval: float
    """Seconds between two repetitions, a fifth shorter or longer."""
    next_due: float = field(default=inf, init=False)
    """No later than the earliest repetition; infinity when there is none."""
    _due: dict[TaskId, float] = field(factory=dict[TaskId, float], init=False)
    """When to repeat each; never while it is held."""

    def hold(self, task_id: TaskId) -> None:
        """Keep a cancel back until its task is accepted."""
        self._due[task_id] = inf

    def is_held(self, task_id: TaskId) -> bool:
        return self._due.get(task_id) == inf

    def schedule(self, task_id: TaskId, *, now: float) -> None:
        """Record that the cancel is sent now, and when to repeat it."""
        due = now + self.interval * self.rng.uniform(0.8, 1.2)
        self._due[task_id] = due
        self.next_due = min(self.next_due, due)

    def drop(self, task_id: TaskId) -> bool:
        """Drop a cancel; return whether there was one."""
        return self._due.pop(task_id, None) is not None

    def pop_due(self, *, now: float) -> list[TaskId]:
        """Return the cancels that are due; they are held until they are scheduled again."""
        if now < self.next_due:
            return []
        due = [task_id for task_id, at in self._due.items() if at <= now]
        for task_id in due:
            self._due[task_id] = inf
        self.next_due = min(self._due.values(), default=inf)
        return due

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[TaskId]:
        return iter(self._due)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._due
