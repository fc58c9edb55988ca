"""Leases: which worker has the right to a task's attempt, and until when.

Rule 1: the session that was given a lease, or has claimed it by its fence, alone answers for it.
Rule 2: every lease has two deadlines. Heartbeats renew the first; the second follows from the
limits of the task and is not renewed.
"""

from attrs import define, evolve, field

from paintmq.broker.machine.sessions import Sessions, WorkerSession
from paintmq.broker.machine.step import StepBuilder
from paintmq.broker.machine.tasks import TaskEntry
from paintmq.broker.machine.transitions import Event
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Timers
from paintmq.task import Fence, PayloadInfo, PeerId, TaskId, TaskState
from paintmq.wire.messages import OBSERVING_VERSION, Assign, Assignment, Progressed

RUN_LIMIT_MARGIN = 30.0
"""Seconds. The worker enforces run limits itself; the broker steps in only if it did not."""


@define
class Leases:
    """Gives tasks to workers, and follows their attempts until they end."""

    _step: StepBuilder
    _sessions: Sessions
    _scheduler: Scheduler
    _timers: Timers
    _incarnation: int
    stale_answers: int = field(default=0, init=False)

    def dispatch(self, *, now: float) -> None:
        """Lease waiting tasks to free workers, as the scheduler picks them."""
        while (pick := self._scheduler.next_pick(now=now)) is not None:
            assignments = []
            # A task may have to wait for everything that the worker was given before it.
            run = now + self._scheduler.longest_hold(pick.session) + RUN_LIMIT_MARGIN
            for task_id in pick.task_ids:
                self._step.at_work_on = task_id
                try:
                    assignments.append(self._lease(task_id, pick.session, now, run))
                except Exception:
                    self._scheduler.released(pick.session, task_id, ran=None, now=now)
                    raise
            self._step.send(pick.session, Assign(tuple(assignments)))

    def _lease(self, task_id: TaskId, session: PeerId, now: float, run: float) -> Assignment:
        """Lease the task until its worker answers, and in any case until ``run``."""
        entry = self._step.tasks.get(task_id)
        assert entry is not None
        assert entry.checked is not None
        worker = self._sessions.workers[session]
        status = entry.status.changed(
            state=TaskState.LEASED,
            incarnation=self._incarnation,
            attempt=entry.status.attempt + 1,
            worker=worker.hello.name,
            worker_key=worker.credentials.key,
            leased_at=now,
            started_at=None,
        )
        lease = now + self._timers.dispatch
        self._step.change(entry, Event.LEASE, status, {"lease": lease, "run": run})
        entry.session, entry.delivered = session, False
        entry.step = entry.total = 0
        request = entry.request
        if request.trace and worker.hello.newest < OBSERVING_VERSION:
            request = evolve(request, trace="")  # which it would not understand
        return Assignment(task=request, fence=status.fence, run_limit=entry.checked.run_limit)

    def may_claim(self, task_id: TaskId, fence: Fence, worker: WorkerSession) -> bool:
        """Return whether this worker holds the task's lease under this fence.

        A worker chooses its name itself, and a fence may become known. So the lease belongs to the
        key it was given to as well, and never to a key for other queues. (A lease from before the
        broker had keys belongs to no key.)
        """
        entry = self._step.tasks.get(task_id)
        return (
            entry is not None
            and entry.status.state.is_leased
            and entry.status.has_fence(fence)
            and entry.status.worker == worker.hello.name
            and entry.status.worker_key in ("", worker.credentials.key)
            and worker.credentials.allows_queue(entry.status.queue)
        )

    def current(self, task_id: TaskId, fence: Fence, session: PeerId) -> TaskEntry | None:
        """Return the task of a worker's answer; None, and count it, if it does not hold the lease.

        Only the session that was given the lease, or has claimed it, answers for the attempt.
        """
        entry = self._step.tasks.get(task_id)
        if entry is None or entry.session != session or not entry.status.has_fence(fence):
            self.stale_answers += 1
            return None
        self._step.at_work_on = task_id
        return entry

    def renew(self, entry: TaskEntry, *, now: float) -> None:
        """Extend the lease: its worker has named the fence."""
        entry.delivered = True
        self._step.set_timers(entry, entry.timers | {"lease": now + self._timers.lease})

    def start(self, entry: TaskEntry, *, loading: bool, now: float) -> None:
        """Record that the worker has begun to load the model, or to run the attempt."""
        self.renew(entry, now=now)
        state = TaskState.LOADING if loading else TaskState.RUNNING
        if entry.status.state in (state, TaskState.RUNNING):
            return  # a duplicate message, or one that a later one has overtaken
        assert entry.checked is not None
        limit = entry.checked.spec.load_limit if loading else entry.checked.run_limit
        self._step.change(
            entry,
            Event.LOAD if loading else Event.RUN,
            entry.status.changed(state=state, started_at=now),
            {"lease": now + self._timers.lease, "run": now + limit + RUN_LIMIT_MARGIN},
        )
        assert entry.session is not None  # the sender has claimed the attempt
        self._scheduler.started(entry.session, entry.id, loading=loading, now=now)
        self._step.tell(
            entry,
            Progressed(
                task_id=entry.id,
                state=state,
                worker=entry.status.worker,
                attempt=entry.status.attempt,
            ),
        )

    def progress(
        self, entry: TaskEntry, step: int, total: int, preview: tuple[PayloadInfo, ...], now: float
    ) -> None:
        """Pass the worker's progress on to the clients that watch the task."""
        self.start(entry, loading=False, now=now)
        entry.step, entry.total = step, total
        self._step.tell(
            entry,
            Progressed(
                task_id=entry.id,
                state=TaskState.RUNNING,
                step=step,
                total=total,
                worker=entry.status.worker,
                attempt=entry.status.attempt,
                preview=preview,
            ),
        )

    def claim(self, entry: TaskEntry, session: PeerId, *, now: float) -> None:
        """Let a worker continue an attempt it still holds, perhaps over a new connection."""
        if entry.session != session:
            if entry.session is not None:
                self._scheduler.released(entry.session, entry.id, ran=None, now=now)
            entry.session = session
            self._scheduler.claimed(session, entry.waiting(), now=now)
        self.renew(entry, now=now)
