"""What ``paintmq why`` says of one waiting task: every filter, every score, what would help."""

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class WorkerVerdict:
    """How one worker stands to the task."""

    worker: str
    verdict: str
    """``unfit`` (a filter says no), ``busy``, ``idle`` or ``avoided`` (the router rather waits)."""
    reason: str = ""
    """For people; empty when nothing stands in the way."""
    free_in: float = 0.0
    """Seconds until it should be done with what it holds."""
    terms: Mapping[str, float | str] = field(factory=dict[str, float | str])
    """What the router's score is made of."""


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
    """From 1, among the tasks of its model that the same workers can run."""
    backlog: int
    """How many tasks that are."""
    workers: tuple[WorkerVerdict, ...] = ()
