"""Where an accepted task stands. Commands that import ``task.py`` need not wait for msgspec."""

from typing import Any

import msgspec

from paintmq.task import AttemptReport, Fence, PayloadInfo, TaskError, TaskState


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an accepted task stands: all that must survive a restart of the broker.

    Times are broker seconds: Unix epoch at the start of the broker, advancing monotonically.
    A Struct, where other values are attrs classes: it is replaced five times in the life of each
    task, which took attrs a quarter of all the calls that a small task costs.
    """

    state: TaskState
    queue: str
    accepted_at: float
    rank: float
    """Virtual arrival time ``accepted_at - priority * ageing``: the order within a backlog."""
    incarnation: int = 0
    attempt: int = 0
    worker: str = ""
    """Name of the worker that holds or last held the task."""
    leased_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    not_before: float = 0.0
    """A requeued task waits until then (backoff)."""
    failures: int = 0
    """Attempts that ended in a retryable error."""
    crashes: int = 0
    """Confirmed crashes while the task ran alone."""
    losses: int = 0
    """Leases that ran out while the task was running."""
    undelivered: int = 0
    """Dispatches that never started."""
    suspect: bool = False
    """The task shared a process with a crash, so it runs alone next time."""
    excluded: tuple[str, ...] = ()
    """Names of workers that failed this task; they are avoided while others could take it."""
    outputs: tuple[PayloadInfo, ...] = ()
    error: TaskError | None = None
    acknowledged_at: float | None = None
    """When the client confirmed that it has the result."""
    history: tuple[AttemptReport, ...] = ()
    owner: str = ""
    """Name of the key that the task was submitted with; empty where no keys are asked for."""
    allowed: tuple[str, ...] | None = None
    """Queues of the key it was submitted with, which it never leaves; None: all."""
    worker_key: str = ""
    """Name of the key of the worker that holds or last held the task."""

    @property
    def fence(self) -> Fence:
        return Fence(self.incarnation, self.attempt)

    def has_fence(self, fence: Fence) -> bool:
        """Return whether this is the fence of its current or last attempt."""
        return fence.attempt == self.attempt and fence.incarnation == self.incarnation

    def changed(self, **changes: Any) -> "TaskStatus":
        """Return this status with other values in some fields."""
        return msgspec.structs.replace(self, **changes)
