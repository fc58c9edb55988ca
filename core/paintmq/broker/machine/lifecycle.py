"""The life of a task in the broker: every transition, and nothing else.

Rule 1: each method that changes a task's status writes exactly one record of it.
Rule 2: a terminal status is left only by ``revive``, which an operator asks for.
Rule 3: who answers for an attempt is decided by the fence alone; see ``current``.
"""

import random

from attrs import define, evolve, field

from paintmq.broker.deadlines import Deadlines
from paintmq.broker.machine.history import with_crash, with_name, with_report
from paintmq.broker.machine.retention import Retention, finished_message
from paintmq.broker.machine.retry import RetryPolicy
from paintmq.broker.machine.sessions import Sessions
from paintmq.broker.machine.step import DeadlineKey, StepBuilder
from paintmq.broker.machine.tasks import TaskEntry
from paintmq.broker.machine.zombies import ZombieAttempts
from paintmq.broker.records import TaskAccepted
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Limits, Timers
from paintmq.task import Fence, PayloadInfo, PeerId, TaskError, TaskId, TaskState, TaskStatus
from paintmq.wire.messages import Abandon, Assign, Assignment, Progressed

# The worker enforces a run limit itself; the broker only steps in when it did not.
RUN_LIMIT_MARGIN = 30.0


@define
class Lifecycle:
    """The transitions of tasks between their states."""

    step: StepBuilder
    sessions: Sessions
    scheduler: Scheduler
    deadlines: Deadlines[DeadlineKey]
    zombies: ZombieAttempts
    retention: Retention
    _timers: Timers
    _limits: Limits
    _incarnation: int
    _rng: random.Random
    stale_answers: int = field(default=0, init=False)
    retries: int = field(default=0, init=False)
    leases_lost: int = field(default=0, init=False)
    crashes: int = field(default=0, init=False)

    # ---- into the queue ------------------------------------------------------------------------

    def accept(self, entry: TaskEntry, *, now: float) -> None:
        """Take a new task in and let it wait."""
        self.step.tasks.add(entry)
        self.step.record(TaskAccepted(entry.request, entry.status))
        self._wait(entry, now=now)

    def restore(self, entry: TaskEntry, *, now: float) -> None:
        """Take in a task that the journal held when the broker started."""
        self.step.tasks.add(entry)
        status = entry.status
        if status.state.is_final:
            self.retention.schedule_purge(entry, now=now, restarted=True)
            if status.acknowledged_at is not None:
                self.retention.note_spent(entry)
        elif entry.checked is None:
            error = TaskError(
                code="unknown_model",
                message=f"model {entry.request.model!r} is no longer installed; install it again "
                f"and requeue the task",
            )
            self._finish(entry, TaskState.DEAD, now=now, error=error)
        elif status.state.is_leased:
            # Its worker may still be at it: it has until then to claim the attempt by its fence.
            self.deadlines.set(("lease", entry.id, 0), now + self._timers.restart_grace)
        else:
            self._wait(entry, now=now)

    def revive(self, entry: TaskEntry, *, now: float) -> None:
        """Let a dead task start afresh, its history kept."""
        self.deadlines.discard(("purge", entry.id, 0))
        self.step.change(
            entry,
            "revive",
            evolve(
                entry.status,
                state=TaskState.QUEUED,
                failures=0,
                crashes=0,
                losses=0,
                undelivered=0,
                excluded=(),
                not_before=0.0,
                ended_at=None,
                error=None,
            ),
        )
        self._wait(entry, now=now)

    def _wait(self, entry: TaskEntry, *, now: float) -> None:
        if entry.expires_at is not None:
            self.deadlines.set(("expire", entry.id, 0), entry.expires_at)
        self.scheduler.add(entry.waiting(), now=now)

    # ---- attempts ------------------------------------------------------------------------------

    def dispatch(self, *, now: float) -> None:
        """Give waiting tasks to free workers, as the scheduler picks them."""
        while (pick := self.scheduler.next_pick(now=now)) is not None:
            assignments = [self._lease(task_id, pick.session, now) for task_id in pick.task_ids]
            self.step.send(pick.session, Assign(tuple(assignments)))

    def _lease(self, task_id: TaskId, session: PeerId, now: float) -> Assignment:
        entry = self.step.tasks.get(task_id)
        assert entry is not None
        assert entry.checked is not None
        self.deadlines.discard(("expire", task_id, 0))
        status = evolve(
            entry.status,
            state=TaskState.LEASED,
            incarnation=self._incarnation,
            attempt=entry.status.attempt + 1,
            worker=self.sessions.workers[session].hello.name,
            leased_at=now,
            started_at=None,
        )
        self.step.change(entry, "lease", status)
        entry.session, entry.delivered = session, False
        self.deadlines.set(("lease", task_id, 0), now + self._timers.dispatch)
        return Assignment(task=entry.request, fence=status.fence, run_limit=entry.checked.run_limit)

    def holds(self, task_id: TaskId, fence: Fence, worker: str) -> bool:
        """Return whether this worker, by this fence, has the right to answer for the task."""
        entry = self.step.tasks.get(task_id)
        return (
            entry is not None
            and entry.status.state.is_leased
            and entry.status.fence == fence
            and entry.status.worker == worker
        )

    def current(self, task_id: TaskId, fence: Fence, worker: str) -> TaskEntry | None:
        """Return the task the worker answers for; None, and count it, if it has lost the right."""
        if not self.holds(task_id, fence, worker):
            self.stale_answers += 1
            return None
        return self.step.tasks.get(task_id)

    def renew(self, entry: TaskEntry, *, now: float) -> None:
        """Push the lease's end away: its worker has named the fence."""
        entry.delivered = True
        self.deadlines.set(("lease", entry.id, 0), now + self._timers.lease)

    def start(self, entry: TaskEntry, *, loading: bool, now: float) -> None:
        """Note that the worker has begun to load the model, or to run the attempt."""
        self.renew(entry, now=now)
        state = TaskState.LOADING if loading else TaskState.RUNNING
        if entry.status.state is state:
            return  # a message that came twice
        assert entry.checked is not None
        spec = entry.checked.spec
        limit = spec.load_limit if loading else entry.checked.run_limit
        self.deadlines.set(("run", entry.id, 0), now + limit + RUN_LIMIT_MARGIN)
        self.step.change(entry, "start", evolve(entry.status, state=state, started_at=now))
        assert entry.session is not None  # who says so has claimed it
        self.scheduler.started(entry.session, entry.id, loading=loading, now=now)
        self.step.tell(
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
        """Pass the worker's progress on to those who watch."""
        self.start(entry, loading=False, now=now)
        self.step.tell(
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
        """Let a worker go on with an attempt it still holds, perhaps over a new connection."""
        if entry.session != session:
            if entry.session is not None:
                self.scheduler.released(entry.session, entry.id, ran=None, now=now)
            entry.session = session
            self.scheduler.claimed(session, entry.waiting(), now=now)
        self.renew(entry, now=now)

    def succeed(
        self, entry: TaskEntry, outputs: tuple[PayloadInfo, ...], *, ran: float, now: float
    ) -> None:
        self._end_attempt(entry, ran=ran, now=now)
        self._finish(entry, TaskState.SUCCEEDED, now=now, outputs=outputs, outcome="succeeded")

    def fail(self, entry: TaskEntry, error: TaskError, *, now: float) -> None:
        """End the attempt with the model's error; try again if that may help."""
        self._end_attempt(entry, now=now)
        failures = entry.status.failures + 1
        excluded = with_name(entry.status.excluded, entry.status.worker)
        spent = failures >= entry.request.max_attempts
        if not error.retryable and (spent or not self._may_load_elsewhere(entry, excluded, now)):
            self._finish(entry, TaskState.FAILED, now=now, error=error, outcome="failed")
            return
        self._retry_or_die(
            entry,
            evolve(entry.status, failures=failures, excluded=excluded),
            spent=spent,
            tries=failures,
            outcome="timed_out" if error.code == "timed_out" else "failed",
            error=error,
            now=now,
        )

    def _may_load_elsewhere(self, entry: TaskEntry, excluded: tuple[str, ...], now: float) -> bool:
        """Return whether the attempt did not come so far as to run, which says nothing of the task,
        and there is another worker: its machine may have the weights or libraries that this lacks.
        """
        if entry.status.state is TaskState.RUNNING or entry.checked is None:
            return False
        return self.scheduler.has_other(entry.waiting(), excluded, now=now)

    def crash(self, entry: TaskEntry, *, alone: bool, detail: str, now: float) -> None:
        """End the attempt with its worker process; blame the task only if it ran alone."""
        self._end_attempt(entry, now=now)
        self.crashes += 1
        message, _, words = f"its worker process died: {detail}".partition("\n")
        error = TaskError(code="worker_crashed", message=message, traceback=words)
        status, spent, tries = with_crash(entry.status, self._limits, alone=alone)
        self._retry_or_die(
            entry, status, spent=spent, tries=tries, outcome="crashed", error=error, now=now
        )

    def lose(self, entry: TaskEntry, *, now: float) -> None:
        """Take the lease back: its worker fell silent, or never showed that it has the attempt."""
        session = entry.session
        self._end_attempt(entry, now=now, may_still_run=True)
        status = entry.status
        if entry.delivered or status.started_at is not None:
            status = evolve(status, losses=status.losses + 1)
            self.leases_lost += 1
            spent = status.losses >= self._limits.losses
            outcome, words = "lost", "its worker fell silent"
        else:
            status = evolve(status, undelivered=status.undelivered + 1)
            spent = status.undelivered >= self._limits.undelivered
            outcome, words = "undelivered", "its worker never took it up"
        if session is not None:
            self.step.send(session, Abandon(task_id=entry.id, fence=entry.status.fence, grace=0.0))
        error = TaskError(code=f"attempt_{outcome}", message=words)
        self._retry_or_die(
            entry, status, spent=spent, tries=0, outcome=outcome, error=error, now=now
        )

    def hand_back(self, entry: TaskEntry, *, trouble: str = "", now: float) -> None:
        """Queue the task again: its worker gave the attempt back unharmed.

        It drains; or it is in ``trouble``, which is no task's fault: it gets none until that is
        over. So only a task that is not to wait for workers ends with it, if there is no other.
        """
        self._end_attempt(entry, now=now)
        status, words = entry.status, "its worker gave it back"
        if trouble:
            words = f"{status.worker} gave it back: {trouble}"
            assert entry.checked is not None
            spent = entry.request.strict and not self.scheduler.could_run(
                entry.checked, (status.queue,)
            )
        else:
            status = evolve(status, undelivered=status.undelivered + 1)
            spent = status.undelivered >= self._limits.undelivered
        error = TaskError(code="attempt_handed_back", message=words)
        self._retry_or_die(
            entry, status, spent=spent, tries=0, outcome="handed_back", error=error, now=now
        )

    def cancel(self, entry: TaskEntry, *, now: float) -> None:
        """End the task now; a worker that is at it is asked to stop, then made to."""
        if entry.status.state.is_leased:
            session, fence = entry.session, entry.status.fence
            self._end_attempt(entry, now=now, may_still_run=True)
            if session is not None:
                self.step.send(
                    session,
                    Abandon(task_id=entry.id, fence=fence, grace=self._timers.cancel_grace),
                )
        else:
            self.scheduler.remove(entry.id)
        error = TaskError(code="cancelled", message="the task was cancelled")
        self._finish(entry, TaskState.CANCELLED, now=now, error=error, outcome="cancelled")

    def expire(self, entry: TaskEntry, *, now: float) -> None:
        """End a task that was not started in time."""
        self.scheduler.remove(entry.id)
        error = TaskError(
            code="expired",
            message=f"not started within {entry.request.expires_in:g} s of its acceptance",
        )
        self._finish(entry, TaskState.EXPIRED, now=now, error=error)

    # ---- inside --------------------------------------------------------------------------------

    def _end_attempt(
        self, entry: TaskEntry, *, now: float, ran: float | None = None, may_still_run: bool = False
    ) -> None:
        """Take the lease away; the worker's credit too, unless it may still be at it (a zombie)."""
        self.deadlines.discard(("lease", entry.id, 0))
        self.deadlines.discard(("run", entry.id, 0))
        session, entry.session = entry.session, None
        if session is None:
            return
        if may_still_run:
            self.zombies.enter(entry.id, entry.status.attempt, session, now=now)
        else:
            self.scheduler.released(session, entry.id, ran=ran, now=now)

    def _retry_or_die(
        self,
        entry: TaskEntry,
        status: TaskStatus,
        *,
        spent: bool,
        tries: int,
        outcome: str,
        error: TaskError,
        now: float,
    ) -> None:
        """Queue the task again, after a backoff if ``tries`` is not 0, or declare it dead."""
        if spent:
            entry.status = status  # the counters; the record below carries them
            self._finish(entry, TaskState.DEAD, now=now, error=error, outcome=outcome)
            return
        self.retries += 1
        policy = RetryPolicy(first=self._timers.retry_first, most=self._timers.retry_most)
        delay = policy.delay(tries, self._rng) if tries else 0.0
        status = with_report(status, outcome, error, now=now, keep=self._limits.history)
        self.step.change(
            entry, "requeue", evolve(status, state=TaskState.QUEUED, not_before=now + delay)
        )
        if entry.expires_at is not None and entry.expires_at <= now:
            self._finish(
                entry,
                TaskState.EXPIRED,
                now=now,
                error=TaskError(code="expired", message="its deadline passed before a retry"),
            )
            return
        self._wait(entry, now=now)
        self.step.tell(
            entry,
            Progressed(
                task_id=entry.id,
                state=TaskState.QUEUED,
                attempt=entry.status.attempt,
                note=error.message,
            ),
        )

    def _finish(
        self,
        entry: TaskEntry,
        state: TaskState,
        *,
        now: float,
        outputs: tuple[PayloadInfo, ...] = (),
        error: TaskError | None = None,
        outcome: str = "",
    ) -> None:
        status = entry.status
        if outcome and status.state.is_leased:
            status = with_report(status, outcome, error, now=now, keep=self._limits.history)
        self.deadlines.discard(("expire", entry.id, 0))
        self.step.change(
            entry,
            "finish",
            evolve(status, state=state, ended_at=now, outputs=outputs, error=error),
        )
        self.retention.schedule_purge(entry, now=now)
        self.step.tell(entry, finished_message(entry))
