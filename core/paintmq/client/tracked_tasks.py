"""The tasks whose ending a client does not know yet, and when to ask for the state of each."""

import random
from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf

from attrs import define, field

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
    due: float = 0.0
    """When to repeat the submission, or to ask."""
    entry_at: float = inf
    """Time of the task's entry in the heap: no later than ``due``."""
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
    """Tasks by id, in the order they came, with a heap of the times they fall due."""

    rng: random.Random
    first: float
    """Seconds until a task falls due for the first time; doubled each time it does."""
    most: float

    _tasks: dict[TaskId, TrackedTask] = field(factory=dict[TaskId, TrackedTask], init=False)
    _heap: list[tuple[float, TaskId]] = field(factory=list[tuple[float, TaskId]], init=False)
    """An entry counts while its time is the ``entry_at`` of its task."""

    def add(self, task_id: TaskId, request: TaskRequest | None, *, now: float) -> TrackedTask:
        task = TrackedTask(task_id, request)
        self._tasks[task_id] = task
        self.reset(task, now=now)
        return task

    def get(self, task_id: TaskId) -> TrackedTask | None:
        return self._tasks.get(task_id)

    def pop(self, task_id: TaskId) -> TrackedTask | None:
        return self._tasks.pop(task_id, None)

    def reset(self, task: TrackedTask, *, now: float) -> None:
        """Reset the backoff."""
        task.backoff = self.first
        self.schedule(task, now + self.jittered(task.backoff))

    def schedule(self, task: TrackedTask, at: float) -> None:
        task.due = at
        # An entry that turns out too early is put back when it is popped: no need for another.
        if at < task.entry_at:
            task.entry_at = at
            heappush(self._heap, (at, task.id))

    def pop_due(self, *, now: float) -> list[TrackedTask]:
        """Return the tasks that are due, each due again after twice as long."""
        due = []
        longest = max(self.most, len(self._tasks) / QUERIES_A_SECOND)
        while self._heap and self._heap[0][0] <= now:
            at, task_id = heappop(self._heap)
            task = self._tasks.get(task_id)
            if task is None or task.entry_at != at:
                continue
            task.entry_at = inf
            if task.due <= now:
                due.append(task)
                task.backoff = min(2 * task.backoff, longest)
                task.due = now + self.jittered(task.backoff)
            self.schedule(task, task.due)
        return due

    def next_due(self) -> float:
        """Return no later than when a task falls due; infinity when none will."""
        return self._heap[0][0] if self._heap else inf

    def jittered(self, seconds: float) -> float:
        return seconds * self.rng.uniform(0.8, 1.2)

    def __iter__(self) -> Iterator[TrackedTask]:
        return iter(self._tasks.values())

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)
