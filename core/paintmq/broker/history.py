"""What a task remembers of its attempts."""

from attrs import evolve

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
