"""The tasks whose ending a client does not know yet, and when to ask for the state of each."""

import heapq
import random
from collections.abc import Iterator
from math import inf
from typing import TypeAlias

from attrs import define, field

from paintmq.task import TaskId, TaskRequest

QUERIES_A_SECOND = 200
"""Tasks asked after at most, on average: the more tasks, the less often each is asked after."""

SMALL_SUBMISSION = 64 * 1024
"""Bytes of input up to which repeating a submission is cheaper than asking whether it arrived."""


SLACK = 64
"""Number of dead entries below which rebuilding the heap is not worth it."""

_Entry: TypeAlias = tuple[float, int, TaskId]
"""When a task falls due, and its age among those of that time: so that a run can be replayed."""


@define(eq=False)
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
    due_at: float = inf
    """When to repeat the submission, or to ask for the state."""
    entry: _Entry | None = None
    """Its live entry in the heap, which is not later than ``due_at``."""

    @property
    def is_query_cheaper(self) -> bool:
        """Whether to ask how it stands, rather than to submit it again."""
        if self.request is None or self.accepted:
            return True
        return self.sent and self.request.input_bytes > SMALL_SUBMISSION


@define
class TrackedTasks:
    """Tasks by id, in the order they came, and the times they fall due.

    The heap is that of ``Deadlines``, in which postponing is free; but what that keeps in two
    dictionaries is here in the tasks themselves, as a client may have a million of them.
    """

    rng: random.Random
    first: float
    """Seconds until a task falls due for the first time; doubled each time it does."""
    most: float

    _tasks: dict[TaskId, TrackedTask] = field(factory=dict[TaskId, TrackedTask], init=False)
    _heap: list[_Entry] = field(factory=list[_Entry], init=False)
    # Invariant: the live entry of every task is in the heap, and not later than the task is due.
    _count: int = field(default=0, init=False)

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

    def accepted(self, task: TrackedTask, *, now: float) -> None:
        """Reset the backoff of a task that the broker has: many are asked after seldom at once."""
        task.backoff = max(self.first, min(self.most, len(self._tasks) / QUERIES_A_SECOND))
        self.schedule(task, now + self.jittered(task.backoff))

    def schedule(self, task: TrackedTask, at: float) -> None:
        task.due_at = at
        if task.entry is None or at < task.entry[0]:
            self._push(task)

    def pop_due(self, *, now: float) -> list[TrackedTask]:
        """Return the tasks that are due, each due again after twice as long."""
        due: list[TrackedTask] = []
        while (first := self._settled()) is not None and first.due_at <= now:
            heapq.heappop(self._heap)
            first.entry = None
            due.append(first)
        longest = max(self.most, len(self._tasks) / QUERIES_A_SECOND) if due else 0.0
        for task in due:
            task.backoff = min(2 * task.backoff, longest)
            self.schedule(task, now + self.jittered(task.backoff))
        return due

    def next_due(self) -> float:
        """Return when the next task falls due; infinity if none will."""
        first = self._settled()
        return inf if first is None else first.due_at

    def jittered(self, seconds: float) -> float:
        return seconds * (0.8 + 0.4 * self.rng.random())

    def __iter__(self) -> Iterator[TrackedTask]:
        return iter(self._tasks.values())

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def _push(self, task: TrackedTask) -> None:
        self._count += 1
        task.entry = (task.due_at, self._count, task.id)
        heapq.heappush(self._heap, task.entry)
        if len(self._heap) > 2 * len(self._tasks) + SLACK:
            self._heap = [each.entry for each in self._tasks.values() if each.entry is not None]
            heapq.heapify(self._heap)

    def _settled(self) -> TrackedTask | None:
        """Return the task that is due first, whose live entry is at the top of the heap then."""
        while self._heap:
            entry = self._heap[0]
            task = self._tasks.get(entry[2])
            if task is not None and task.entry is entry:
                if task.due_at == entry[0]:
                    return task
                heapq.heappop(self._heap)
                self._push(task)
            else:
                heapq.heappop(self._heap)
        return None
