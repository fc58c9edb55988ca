"""Retention: how long an ended task is kept, and what clients are told about it."""

from attrs import define, evolve, field

from paintmq.broker.machine.step import StepBuilder
from paintmq.broker.machine.tasks import TaskEntry
from paintmq.broker.machine.transitions import Event
from paintmq.config import Limits, Timers
from paintmq.task import FINAL_STATES, TaskId, TaskState
from paintmq.task_status import TaskStatus
from paintmq.wire.messages import Finished


@define
class Retention:
    """Keeps ended tasks while clients may ask for them, within the memory allowed."""

    _step: StepBuilder
    _timers: Timers
    _limits: Limits
    # Acknowledged results, oldest first, with their bytes: the first to go when memory is short.
    _spent: dict[TaskId, int] = field(factory=dict[TaskId, int], init=False)
    _spent_bytes: int = field(default=0, init=False)

    def acknowledge(self, entry: TaskEntry, *, now: float) -> None:
        """Record that a client has the result, so that it need not be kept for long."""
        if entry.status.state not in FINAL_STATES or entry.status.acknowledged_at is not None:
            return
        status = entry.status.changed(acknowledged_at=now)
        purge_at = self.purge_at(status, now=now)
        self._step.change(entry, Event.ACKNOWLEDGE, status, {"purge": purge_at})
        self.add_spent(entry)
        while self._spent_bytes > self._limits.max_spent_bytes:
            self._purge_oldest()

    def make_room(self) -> None:
        """Purge confirmed results, oldest first, until there is room for one more task."""
        while self._spent and len(self._step.tasks) >= self._limits.max_kept_tasks:
            self._purge_oldest()

    @property
    def keeps_confirmed(self) -> bool:
        """Whether there are results that their clients have."""
        return bool(self._spent)

    def purge_confirmed(self, *, at_most: int) -> None:
        """Purge results that their clients have, oldest first: the journal's disk is full."""
        while self._spent and at_most > 0:
            self._purge_oldest()
            at_most -= 1

    def _purge_oldest(self) -> None:
        oldest = self._step.tasks.get(next(iter(self._spent)))
        assert oldest is not None
        self.purge(oldest)

    def purge(self, entry: TaskEntry) -> None:
        """Remove the task and its payloads."""
        self._step.purge(entry)
        self.drop_spent(entry)

    def drop_spent(self, entry: TaskEntry) -> None:
        self._spent_bytes -= self._spent.pop(entry.id, 0)

    def add_spent(self, entry: TaskEntry) -> None:
        size = sum([output.size for output in entry.status.outputs])
        self._spent[entry.id] = size
        self._spent_bytes += size

    def purge_at(self, status: TaskStatus, *, now: float, restarted: bool = False) -> float:
        """Return when an ended task will be purged.

        ``restarted``: the broker is starting. No client could fetch results while it was down, and
        the machine's clock may be wrong, so unconfirmed results are kept for a while in any case.
        """
        timers = self._timers
        ended = status.ended_at if status.ended_at is not None else now
        if status.state is TaskState.DEAD:
            when = ended + timers.dead_kept
        elif status.acknowledged_at is not None:
            when = status.acknowledged_at + timers.result_kept
        else:
            when = ended + timers.result_kept_at_most
        if restarted and status.acknowledged_at is None:
            when = max(when, now + timers.result_kept)
        return when


def finished_message(entry: TaskEntry) -> Finished:
    """Return what clients are told about a task that has ended."""
    status = entry.status
    error = None if status.error is None else evolve(status.error, traceback="")
    started, ended = status.started_at, status.ended_at
    return Finished(
        task_id=entry.id,
        state=status.state,
        outputs=status.outputs,
        error=error,
        queue=status.queue,
        worker=status.worker,
        attempts=status.attempt,
        waited=max(0.0, (started or ended or 0.0) - status.accepted_at),
        ran=max(0.0, ended - started) if started and ended else 0.0,
    )
