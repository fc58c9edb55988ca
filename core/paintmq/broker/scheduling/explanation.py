"""What ``paintmq why`` reports about one waiting task: filters, scores and what would help."""

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class WorkerVerdict:
    """Why one worker does or does not take the task."""

    worker: str
    verdict: str
    """``unfit`` (a filter rules it out), ``busy``, ``idle`` or ``avoided`` (the router prefers to
    wait)."""
    reason: str = ""
    """Human-readable; empty when nothing stands in the way."""
    free_in: float = 0.0
    """Seconds until it should have finished what it holds."""
    terms: Mapping[str, float | str] = field(factory=dict[str, float | str])
    """The terms of the router's score."""


@frozen(kw_only=True)
class Explanation:
    """Why a task waits."""

    task_id: str
    model: str
    queue: str
    router: str
    waiting_for: str
    """One line; empty when a worker is about to take it."""
    unblocked_by: str
    """The event that would let it start."""
    position: int
    """Counted from 1, among the tasks of its model that the same workers can run."""
    backlog: int
    """The number of those tasks."""
    workers: tuple[WorkerVerdict, ...] = ()
