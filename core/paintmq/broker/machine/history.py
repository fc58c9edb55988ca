"""A task's record of its attempts, and what is counted against it."""

from paintmq.config import Limits
from paintmq.task import AttemptReport, TaskError
from paintmq.task_status import TaskStatus


def with_report(
    status: TaskStatus, outcome: str, error: TaskError | None, *, now: float, keep: int
) -> TaskStatus:
    """Return the status with its current attempt, which ends now, added to the history."""
    started_at = status.started_at
    return status.changed(
        history=reported(status, outcome, error, started_at=started_at, now=now, keep=keep)
    )


def reported(
    status: TaskStatus,
    outcome: str,
    error: TaskError | None,
    *,
    started_at: float | None,
    now: float,
    keep: int,
) -> tuple[AttemptReport, ...]:
    """Return the history with the current attempt, which ends now: its last ``keep`` attempts."""
    report = AttemptReport(
        attempt=status.attempt,
        worker=status.worker,
        leased_at=status.leased_at if status.leased_at is not None else now,
        started_at=started_at,
        ended_at=now,
        outcome=outcome,
        error=error,
    )
    return (*status.history, report)[-keep:]


def with_crash(status: TaskStatus, limits: Limits, *, alone: bool) -> tuple[TaskStatus, bool, int]:
    """Count the death of the task's worker process.

    Only a task that ran alone in the process is charged. One that shared it becomes a suspect and
    runs alone next time, which either clears it or convicts it.

    Returns:
        The new status, whether the task has used up its tries, and the number of tries so far.
    """
    if alone:
        # The worker itself may be at fault, so another one is preferred next time.
        status = status.changed(
            crashes=status.crashes + 1, excluded=with_name(status.excluded, status.worker)
        )
        return status, status.crashes >= limits.crashes, status.crashes
    if status.suspect:
        # A suspect is only ever dispatched alone, so this worker broke that rule. Count it, or a
        # faulty worker could keep the task in the queue for ever.
        status = status.changed(losses=status.losses + 1)
        return status, status.losses >= limits.losses, status.losses
    return status.changed(suspect=True), False, 1


def with_name(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the names with this one added, unless it is empty or already there."""
    return names if name in names or not name else (*names, name)
