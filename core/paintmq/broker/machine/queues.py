"""Queues: which tasks one may hold, and what it counts."""

from collections.abc import Mapping, Sequence

from attrs import define, field, frozen

from paintmq.config import QueueConfig
from paintmq.plugin.catalog import CheckedTask
from paintmq.task import TaskState


def objection(queue: QueueConfig, checked: CheckedTask) -> str:
    """Return why the queue cannot hold the task, in words; empty when it can."""
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


@frozen
class Feasibility:
    """Which queues could hold a task, in the order of the configuration, and why others cannot."""

    queues: tuple[str, ...]
    objections: Mapping[str, str]

    def reason(self) -> str:
        """Return one line that names every queue that cannot hold the task, and why."""
        return "; ".join(f"{name}: {why}" for name, why in self.objections.items())

    def within(self, allowed: Sequence[str]) -> "Feasibility":
        """Return the same for these queues alone."""
        others = [name for name in allowed if name not in self.queues]
        return Feasibility(
            queues=tuple(name for name in self.queues if name in allowed),
            objections={name: self.objections.get(name, "there is none") for name in others},
        )


def feasibility(queues: Mapping[str, QueueConfig], checked: CheckedTask) -> Feasibility:
    """Ask every queue whether it could ever hold the task."""
    objections = {name: objection(queue, checked) for name, queue in queues.items()}
    return Feasibility(
        queues=tuple(name for name, why in objections.items() if not why),
        objections={name: why for name, why in objections.items() if why},
    )


@define
class QueueCounts:
    """What is in a queue now, and what came out of it since the broker started."""

    by_state: dict[TaskState, int] = field(factory=lambda: dict.fromkeys(TaskState, 0), init=False)
    """Tasks the broker still knows."""
    ended: dict[TaskState, int] = field(factory=lambda: dict.fromkeys(TaskState, 0), init=False)
    """Tasks that came to this ending, forgotten ones too; a revived one is taken back."""
    accepted: int = field(default=0, init=False)
    rejected: int = field(default=0, init=False)
    bytes_waiting: int = field(default=0, init=False)

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
