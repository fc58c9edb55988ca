"""What a task remembers of its attempts, and what is counted against it."""

from attrs import evolve

from paintmq.config import Limits
from paintmq.task import AttemptReport, TaskError, TaskStatus


def with_report(
    status: TaskStatus, outcome: str, error: TaskError | None, *, now: float, keep: int
) -> TaskStatus:
    """Return the status with its current attempt, which ends now, in the history.

    Only the last ``keep`` attempts are kept.
    """
    report = AttemptReport(
        attempt=status.attempt,
        worker=status.worker,
        leased_at=status.leased_at if status.leased_at is not None else now,
        started_at=status.started_at,
        ended_at=now,
        outcome=outcome,
        error=error,
    )
    return evolve(status, history=(*status.history, report)[-keep:])


def with_crash(status: TaskStatus, limits: Limits, *, alone: bool) -> tuple[TaskStatus, bool, int]:
    """Return the status with a death of its worker's process counted, whether that was one too
    many, and how often it was tried. Only who ran alone is to blame.
    """
    if alone:
        # It may be the worker's doing: another is preferred.
        status = evolve(
            status, crashes=status.crashes + 1, excluded=with_name(status.excluded, status.worker)
        )
        return status, status.crashes >= limits.crashes, status.crashes
    if status.suspect:
        # A suspect is only ever dispatched alone, so this worker broke that rule; bound it.
        status = evolve(status, losses=status.losses + 1)
        return status, status.losses >= limits.losses, status.losses
    return evolve(status, suspect=True), False, 1


def with_name(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the names with this one, each once."""
    return names if name in names or not name else (*names, name)
