"""Queues: which tasks one can hold, and its counters."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import inf

from attrs import define, field, frozen

from paintmq.config import QueueConfig
from paintmq.deadlines import Deadlines
from paintmq.plugin.catalog import REMEMBERED, CheckedTask
from paintmq.plugin.options import nearest
from paintmq.task import TaskId, TaskState


def objection(queue: QueueConfig, checked: CheckedTask) -> str:
    """Return the reason why the queue cannot hold the task; empty if it can."""
    if queue.models and not takes_model(queue, checked.spec.name):
        return f"takes {' and '.join(queue.models)} alone, not {checked.spec.name}"
    needs = checked.needs.get(queue.device)
    if needs is None:
        return f"runs {queue.device} tasks, needs {' or '.join(checked.needs)}"
    if queue.device == "cuda" and needs.gpu_memory_mb > queue.gpu_memory_mb:
        return f"needs {needs.gpu_memory_mb} MB GPU memory, has {queue.gpu_memory_mb}"
    if queue.memory_mb and needs.memory_mb > queue.memory_mb:
        return f"needs {needs.memory_mb} MB memory, has {queue.memory_mb}"
    if queue.cores and needs.cores > queue.cores:
        return f"needs {needs.cores} CPU cores, has {queue.cores}"
    if queue.device == "cpu" and queue.effort not in ("any", checked.spec.effort):
        return f"takes {queue.effort} tasks, this one is {checked.spec.effort}"
    return ""


def takes_model(queue: QueueConfig, model: str) -> bool:
    """Return whether one of the queue's names or patterns is the model's; without any, all are."""
    return not queue.models or any(fnmatchcase(model, pattern) for pattern in queue.models)


def unknown_models(queues: Mapping[str, QueueConfig], installed: Iterable[str]) -> list[str]:
    """Return, one line each, the names and patterns of queues that no installed model has.

    No reason to refuse to start: a plugin that fails must not stop the work of the others.
    """
    names = sorted(installed)
    return [
        f"queues.{name}.models: no installed model is called {pattern!r}{nearest(pattern, names)}"
        for name, queue in queues.items()
        for pattern in queue.models
        if not any(fnmatchcase(model, pattern) for model in names)
    ]


@frozen
class Feasibility:
    """The queues that can hold a task, in order of configuration, and why the others cannot."""

    queues: tuple[str, ...]
    objections: Mapping[str, str]

    def reason(self) -> str:
        """Return one line with the objection of each queue that cannot hold the task."""
        return "; ".join(f"{name}: {why}" for name, why in self.objections.items())

    def within(self, allowed: Sequence[str]) -> "Feasibility":
        """Return the same, restricted to these queues."""
        others = [name for name in allowed if name not in self.queues]
        return Feasibility(
            queues=tuple(name for name in self.queues if name in allowed),
            objections={name: self.objections.get(name, "no such queue") for name in others},
        )


def feasibility(queues: Mapping[str, QueueConfig], checked: CheckedTask) -> Feasibility:
    """Determine which queues could ever hold the task."""
    objections = {name: objection(queue, checked) for name, queue in queues.items()}
    return Feasibility(
        queues=tuple(name for name, why in objections.items() if not why),
        objections={name: why for name, why in objections.items() if why},
    )


def not_its_owners(queue: str, allowed: Sequence[str] | None) -> str:
    """Return why a task must not be brought to the queue; empty if its owner may use it."""
    if allowed is None or queue in allowed:
        return ""
    return f"is not among the queues of its owner's key, {' and '.join(allowed)}"


def refuge(
    queues: Mapping[str, QueueConfig], checked: CheckedTask, allowed: Sequence[str] | None
) -> Feasibility:
    """Determine to which queues a task of a removed one may go: none that its owner may not use."""
    found = feasibility(queues, checked)
    return found if allowed is None else found.within(allowed)


@define
class FeasibleQueues:
    """Remembers which queues could hold the latest tasks, while the queues stay the same."""

    _queues: dict[str, QueueConfig] = field(factory=dict[str, QueueConfig], init=False)
    _known: dict[int, tuple[CheckedTask, Feasibility]] = field(
        factory=dict[int, tuple[CheckedTask, Feasibility]], init=False
    )
    """By identity of the checked task, which is the same object for equal tasks."""

    def of(self, queues: Mapping[str, QueueConfig], checked: CheckedTask) -> Feasibility:
        if self._queues != queues or len(self._known) >= REMEMBERED:
            self._queues = dict(queues)
            self._known.clear()
        known = self._known.get(id(checked))
        if known is None:
            known = self._known[id(checked)] = checked, feasibility(queues, checked)
        return known[1]


@define
class QueueCounts:
    """Counters of one queue: its tasks now, and those that ended since the broker started."""

    by_state: dict[TaskState, int] = field(factory=lambda: dict.fromkeys(TaskState, 0), init=False)
    """Tasks the broker still knows."""
    ended: dict[TaskState, int] = field(factory=lambda: dict.fromkeys(TaskState, 0), init=False)
    """Tasks that ended in each state, including purged ones; a revived task is subtracted."""
    accepted: int = field(default=0, init=False)
    rejected: int = field(default=0, init=False)
    bytes_waiting: int = field(default=0, init=False)
    _arrivals: dict[TaskId, float] = field(factory=dict[TaskId, float], init=False)
    """The time of acceptance of each waiting task; of those that wait again, in ``_again``."""
    _latest: float = field(default=-inf, init=False)
    _again: Deadlines[TaskId] = field(factory=Deadlines[TaskId], init=False)

    def arrived(self, task_id: TaskId, accepted_at: float) -> None:
        """Count a task among those that wait."""
        if accepted_at >= self._latest:
            # In order of acceptance, as nearly all tasks come: the first one is the oldest.
            self._latest = accepted_at
            self._arrivals[task_id] = accepted_at
        else:
            self._again.set(task_id, accepted_at)

    def left(self, task_id: TaskId) -> None:
        """Count a task that waited as one that does not."""
        if self._arrivals.pop(task_id, None) is None:
            self._again.discard(task_id)

    def oldest_arrival(self) -> float | None:
        """Return when the longest-waiting task was accepted; None if none waits."""
        firsts = next(iter(self._arrivals.values()), None), self._again.next()
        return min((when for when in firsts if when is not None), default=None)

    @property
    def waiting(self) -> int:
        return self.by_state[TaskState.QUEUED]

    @property
    def running(self) -> int:
        return (
            self.by_state[TaskState.LEASED]
            + self.by_state[TaskState.LOADING]
            + self.by_state[TaskState.RUNNING]
        )
