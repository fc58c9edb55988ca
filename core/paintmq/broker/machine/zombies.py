"""Attempts that have ended for the broker but may still be running on their worker.

They were cancelled, or their lease ran out. The worker's credit returns to the scheduler only when
the worker says that it has stopped or is gone: until then the device is busy with a model that does
not stop, and another task beside it would suffer.
"""

from collections.abc import Sequence

from attrs import define, field

from paintmq.broker.machine.step import DeadlineKey
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.deadlines import Deadlines
from paintmq.task import PeerId, TaskId


@define
class ZombieAttempts:
    """The attempts that workers may still be running."""

    _scheduler: Scheduler
    _deadlines: Deadlines[DeadlineKey]
    _patience: float
    """Seconds after which a worker that does not report counts as having stopped."""
    _sessions: dict[tuple[TaskId, int], PeerId] = field(
        factory=dict[tuple[TaskId, int], PeerId], init=False
    )

    def enter(self, task_id: TaskId, attempt: int, session: PeerId, *, now: float) -> None:
        self._sessions[task_id, attempt] = session
        self._deadlines.set(("zombie", task_id, attempt), now + self._patience)

    def stopped(self, session: PeerId, task_id: TaskId, attempt: int, *, now: float) -> None:
        """Return a worker's credit: it says itself that it has stopped."""
        if self._sessions.get((task_id, attempt)) == session:
            self.leave(task_id, attempt, now=now)

    def leave(self, task_id: TaskId, attempt: int, *, now: float) -> None:
        """Return the worker's credit: it has stopped, or it is gone."""
        session = self._sessions.pop((task_id, attempt))
        self._deadlines.discard(("zombie", task_id, attempt))
        self._scheduler.released(session, task_id, ran=None, now=now)

    def settle(self, session: PeerId, running: Sequence[TaskId], *, now: float) -> None:
        """Return the credit of attempts that the worker's heartbeat no longer names."""
        for task_id, attempt in [key for key, peer in self._sessions.items() if peer == session]:
            if task_id not in running:
                self.leave(task_id, attempt, now=now)
