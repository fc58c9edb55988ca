"""The tasks whose ending a client does not know yet, and when to ask for the state of each."""

import random
from collections.abc import Iterator
from math import inf

from attrs import define, field

from paintmq.deadlines import Deadlines
from paintmq.task import TaskId, TaskRequest

QUERIES_A_SECOND = 200
"""Tasks asked after at most, on average: the more tasks, the less often each is asked after."""

SMALL_SUBMISSION = 64 * 1024
"""Bytes of input up to which repeating a submission is cheaper than asking whether it arrived."""


@define
class TrackedTask:
    """A task whose ending is not known yet."""

    id: TaskId
    request: TaskRequest | None
    """None for a task that was fetched by its id: it cannot be submitted again."""
    backoff: float = 0.0
    sent: bool = False
    """The submission was sent at least once."""
    accepted: bool = False
    """The broker has the task, as far as we know."""
    patient: bool = False
    """Refusals that pass by themselves are waited out."""
    promised: bool = False
    """The task was accepted at some time, even if the broker has forgotten it since."""

    @property
    def is_query_cheaper(self) -> bool:
        """Whether to ask how it stands, rather than to submit it again."""
        if self.request is None or self.accepted:
            return True
        return self.sent and self.request.input_bytes > SMALL_SUBMISSION


@define
class TrackedTasks:
    """Tasks by id, in the order they came, and the times they fall due."""

    rng: random.Random
    first: float
    """Seconds until a task falls due for the first time; doubled each time it does."""
    most: float

    _tasks: dict[TaskId, TrackedTask] = field(factory=dict[TaskId, TrackedTask], init=False)
    _due: Deadlines[TaskId] = field(factory=Deadlines[TaskId], init=False)
    """When to repeat the submission of a task, or to ask for its state."""

    def add(self, task_id: TaskId, request: TaskRequest | None, *, now: float) -> TrackedTask:
        task = TrackedTask(task_id, request)
        self._tasks[task_id] = task
        self.reset(task, now=now)
        return task

    def get(self, task_id: TaskId) -> TrackedTask | None:
        return self._tasks.get(task_id)

    def pop(self, task_id: TaskId) -> TrackedTask | None:
        self._due.discard(task_id)
        return self._tasks.pop(task_id, None)

    def reset(self, task: TrackedTask, *, now: float) -> None:
        """Reset the backoff."""
        task.backoff = self.first
        self.schedule(task, now + self.jittered(task.backoff))

    def accepted(self, task: TrackedTask, *, now: float) -> None:
        """Reset the backoff of a task that the broker has: many are asked after seldom at once."""
        task.backoff = max(self.first, min(self.most, len(self._tasks) / QUERIES_A_SECOND))
        self.schedule(task, now + self.jittered(task.backoff))

    def schedule(self, task: TrackedTask, at: float) -> None:
        self._due.set(task.id, at)

    def pop_due(self, *, now: float) -> list[TrackedTask]:
        """Return the tasks that are due, each due again after twice as long."""
        longest = max(self.most, len(self._tasks) / QUERIES_A_SECOND)
        due = [self._tasks[task_id] for task_id in self._due.pop_due(now)]
        for task in due:
            task.backoff = min(2 * task.backoff, longest)
            self.schedule(task, now + self.jittered(task.backoff))
        return due

    def next_due(self) -> float:
        """Return when the next task falls due; infinity if none will."""
        when = self._due.next()
        return inf if when is None else when

    def jittered(self, seconds: float) -> float:
        return seconds * (0.8 + 0.4 * self.rng.random())

    def __iter__(self) -> Iterator[TrackedTask]:
        return iter(self._tasks.values())

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)
