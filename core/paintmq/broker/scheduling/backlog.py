"""Backlogs: the waiting tasks of one model that the same workers can run, in order of rank."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush

import msgspec
from attrs import define, field, frozen

from paintmq.broker.scheduling.estimates import RunKey
from paintmq.model import ModelSpec, Needs
from paintmq.plugin.catalog import CheckedTask
from paintmq.task import DeviceKind, TaskId, TaskRequest

HEAD = 64
"""Tasks kept fully sorted at the front of a backlog; batches and scores look no further."""

FRONT = 4
"""Tasks whose arrivals and priorities stand for those of a whole backlog."""


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A task as the scheduler is given it."""

    request: TaskRequest
    checked: CheckedTask
    queue: str
    rank: float
    not_before: float
    suspect: bool
    excluded: tuple[str, ...]


@define(eq=False, weakref_slot=False)
class WaitingTask:
    """A task in the scheduler, with all that is worked out once and needed often."""

    waiting: Waiting
    id: TaskId
    key: tuple[float, int]
    """Its place in line: by rank, then by order of arrival."""
    priority: int
    tenant: str
    queue: str
    arrived_at: float
    batch_keys: Mapping[DeviceKind, str | None]
    runs: dict[DeviceKind, RunKey]
    """By device: what its run time depends on."""
    work: float
    """Seconds it adds to its queue's expected work."""
    backlog: "Backlog | None" = None
    """Where it waits to be started; None while it is held back (backoff, tenant's window)."""
    in_window: bool = False
    """It counts against its tenant's window."""

    @property
    def rank(self) -> float:
        return self.key[0]

    @property
    def model(self) -> str:
        return self.waiting.checked.spec.name


_Item = tuple[tuple[float, int], WaitingTask]
"""Keys are unique, so tasks themselves are never compared."""


@define(eq=False)
class RankedTasks:
    """Tasks in order of their keys; cheap at both ends of a very long line.

    Invariant: no task in the head ranks behind one that is not, and the head is only shorter than
    HEAD // 2 when nothing is behind it.
    """

    _head: list[_Item] = field(factory=list, init=False)
    _tail: deque[_Item] = field(factory=deque[_Item], init=False)
    """Behind the head, in order: most tasks come in the order of their ranks."""
    _strays: list[_Item] = field(factory=list, init=False)
    """Behind the head too, as a heap: tasks that arrived after some of the tail but rank before
    it."""
    _members: dict[TaskId, _Item] = field(factory=dict[TaskId, _Item], init=False)
    """The tasks still in line. An item behind the head that is not listed here was removed and is
    skipped."""

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[WaitingTask]:
        """Iterate over all, in no particular order."""
        return iter([task for _, task in self._members.values()])

    def __contains__(self, task: WaitingTask) -> bool:
        # A task whose lease was lost may wait again while its old self still holds a worker.
        item = self._members.get(task.id)
        return item is not None and item[1] is task

    def first(self, count: int = 1) -> Sequence[WaitingTask]:
        return [task for _, task in self._head[:count]]

    def push(self, task: WaitingTask) -> bool:
        """Add a task; return whether the head changed."""
        item = self._members[task.id] = (task.key, task)
        if (self._tail or self._strays) and item > self._head[-1]:
            if not self._tail or item > self._tail[-1]:
                self._tail.append(item)
            else:
                heappush(self._strays, item)
            return False
        insort(self._head, item)
        if len(self._head) > HEAD:
            self._tail.appendleft(self._head.pop())
        return True

    def remove(self, task: WaitingTask) -> bool:
        """Take a task out; return whether the head changed."""
        del self._members[task.id]
        place = bisect_left(self._head, (task.key,))
        if place == len(self._head) or self._head[place][1] is not task:
            self._tidy()
            return False
        del self._head[place]
        self._refill()
        return True

    def remove_first(self, tasks: Sequence[WaitingTask]) -> None:
        """Take out tasks of the head, given in order."""
        for task in tasks:
            del self._members[task.id]
        if [task for _, task in self._head[: len(tasks)]] == tasks:
            del self._head[: len(tasks)]
        else:
            gone = {id(task) for task in tasks}
            self._head = [item for item in self._head if id(item[1]) not in gone]
        self._refill()

    def position(self, task: WaitingTask) -> int:
        """Return how many tasks come before it."""
        return sum(key < task.key for key, _ in self._members.values())

    def _refill(self) -> None:
        if len(self._head) >= HEAD // 2:
            return
        while (self._tail or self._strays) and len(self._head) < HEAD:
            is_stray = not self._tail or (self._strays and self._strays[0] < self._tail[0])
            item = heappop(self._strays) if is_stray else self._tail.popleft()
            if self._is_member(item):
                self._head.append(item)

    def _tidy(self) -> None:
        """Discard removed items behind the head once they outnumber the live ones."""
        listed = len(self._head) + len(self._tail) + len(self._strays)
        if listed > 2 * len(self._members) + HEAD:
            self._tail = deque(item for item in self._tail if self._is_member(item))
            self._strays = [item for item in self._strays if self._is_member(item)]
            heapify(self._strays)
            self._refill()

    def _is_member(self, item: _Item) -> bool:
        """Return whether the task is still in line at this very place."""
        return self._members.get(item[1].id) is item


@frozen(cache_hash=True)
class BacklogKey:
    """What tasks of one backlog have in common."""

    model: str
    devices: tuple[DeviceKind, ...]
    suspect: bool
    excluded: tuple[str, ...]
    profiles: int
    """Bit mask of the worker profiles that fit."""


@define(eq=False)
class Backlog:
    """The waiting tasks of one model that the same workers can run."""

    key: BacklogKey
    spec: ModelSpec
    number: int
    """Order of creation: breaks ties."""
    ready: RankedTasks = field(factory=RankedTasks, init=False)
    """May be started now."""
    listed: tuple[float, int] | None = field(default=None, init=False)
    """The key of its first task when the scheduling board last indexed it."""
    head: WaitingTask | None = field(default=None, init=False)
    """The first task that may be started now."""
    front_arrived_at: float = field(default=0.0, init=False)
    front_priority: float = field(default=0.0, init=False)
    parked: RankedTasks = field(factory=RankedTasks, init=False)
    """Held back because their tenant's window is full."""
    lowest: dict[DeviceKind, Needs] = field(factory=dict[DeviceKind, Needs], init=False)
    highest: dict[DeviceKind, Needs] = field(factory=dict[DeviceKind, Needs], init=False)
    """Bounds of its tasks' needs: a worker that meets the highest can run every task here."""
    queues: dict[str, None] = field(factory=dict[str, None], init=False)
    """The queues its tasks come from; a dict to keep their order."""
    _covered: dict[tuple[int, str], None] = field(factory=dict[tuple[int, str], None], init=False)
    """Forms of tasks, and their queues, that the bounds are known to include."""

    @property
    def model(self) -> str:
        return self.key.model

    @property
    def demand(self) -> int:
        return len(self.ready) + len(self.parked)

    def __len__(self) -> int:
        return len(self.ready)

    def first(self, count: int = 1) -> Sequence[WaitingTask]:
        return self.ready.first(count)

    def look_at_front(self) -> tuple[float, int] | None:
        """Update what routers see of its first tasks; return the key of the first one."""
        front = self.ready.first(FRONT)
        if not front:
            self.head = None
            return None
        self.head = front[0]
        arrived_at, priority = 0.0, 0
        for task in front:
            arrived_at += task.arrived_at
            priority += task.priority
        self.front_arrived_at = arrived_at / len(front)
        self.front_priority = priority / len(front)
        return front[0].key

    def tasks(self) -> Iterator[WaitingTask]:
        yield from self.ready
        yield from self.parked

    def cover(self, checked: CheckedTask, queue: str, form: int) -> None:
        """Widen the bounds so that they include one more task; ``form``: see ``TaskForm``."""
        if (form, queue) in self._covered:
            return
        if len(self._covered) >= HEAD:
            self._covered.clear()
        self._covered[form, queue] = None
        self.queues[queue] = None
        for device in self.key.devices:
            needs = checked.needs[device]
            self.lowest[device] = _fold(min, self.lowest.get(device, needs), needs)
            self.highest[device] = _fold(max, self.highest.get(device, needs), needs)


def _fold(choose: Callable[[int, int], int], left: Needs, right: Needs) -> Needs:
    return Needs(
        gpu_memory_mb=choose(left.gpu_memory_mb, right.gpu_memory_mb),
        memory_mb=choose(left.memory_mb, right.memory_mb),
        cores=choose(left.cores, right.cores),
    )
