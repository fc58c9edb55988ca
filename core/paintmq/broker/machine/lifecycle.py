"""The life of a task in the broker: every transition, and nothing else.

Rule 1: each method that changes a task's status writes exactly one record of the change.
Rule 2: a final status is left only by ``revive``, which an operator asks for.
Rule 3: the fence alone decides whether a worker's answer counts; see ``current``.
"""

import random

from attrs import define, field

from paintmq.broker.machine.history import with_crash, with_name, with_report
from paintmq.broker.machine.retention import Retention, finished_message
from paintmq.broker.machine.retry import RetryPolicy
from paintmq.broker.machine.sessions import Sessions, WorkerSession
from paintmq.broker.machine.step import DeadlineKey, StepBuilder
from paintmq.broker.machine.tasks import TaskEntry
from paintmq.broker.machine.transitions import ENDING_EVENTS, Event, TimerKind
from paintmq.broker.machine.zombies import ZombieAttempts
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Limits, Timers
from paintmq.deadlines import Deadlines
from paintmq.task import Fence, PayloadInfo, PeerId, TaskError, TaskId, TaskState, TaskStatus
from paintmq.wire.messages import Abandon, Assign, Assignment, Progressed

RUN_LIMIT_MARGIN = 30.0
"""Seconds. The worker enforces run limits itself; the broker steps in only if it did not."""


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
    at_work_on: TaskId | None = field(default=None, init=False)
    """The task that a step deals with: the one to end if the step raises."""

    # ---- into the queue ------------------------------------------------------------------------

    def accept(self, entry: TaskEntry, *, now: float) -> None:
        """Accept a new task into its queue."""
        self.at_work_on = entry.id
        self.step.accept(entry, self._waiting_timers(entry, entry.status, now=now))
        self.scheduler.add(entry.waiting(), now=now)

    def restore(self, entry: TaskEntry, *, now: float) -> None:
        """Take over a task that the journal held when the broker started."""
        self.step.tasks.add(entry)
        status = entry.status
        if status.state.is_final:
            purge_at = self.retention.purge_at(status, now=now, restarted=True)
            self.step.set_timers(entry, {"purge": purge_at})
            if status.acknowledged_at is not None:
                self.retention.add_spent(entry)
        elif entry.checked is None:
            error = TaskError(
                code="unknown_model",
                message=f"model {entry.request.model!r} is no longer installed: install it again, "
                f"then requeue the task",
            )
            self._finish(entry, TaskState.DEAD, now=now, error=error)
        elif status.state.is_leased:
            # Its worker may still be running it, and has until then to claim it by its fence. The
            # time it may take is counted from now: what it took before is unknown if the clock
            # was set meanwhile, and a result that is ready must not come too late.
            grace = self._timers.restart_grace
            limit = entry.checked.spec.load_limit + entry.checked.run_limit
            run = now + grace + limit + RUN_LIMIT_MARGIN
            self.step.set_timers(entry, {"lease": now + grace, "run": run})
        else:
            self.step.set_timers(entry, self._waiting_timers(entry, status, now=now))
            self.scheduler.add(entry.waiting(), now=now)

    def adopt(self, entry: TaskEntry, owner: str) -> None:
        """Give an owner to a task that has none: it is older than the broker's keys."""
        timers = self.step.timers_of(entry)
        self.step.change(entry, Event.ADOPT, entry.status.changed(owner=owner), timers)

    def revive(self, entry: TaskEntry, *, now: float) -> None:
        """Put a dead task back into its queue with fresh counters; its history is kept."""
        status = entry.status.changed(
            state=TaskState.QUEUED,
            failures=0,
            crashes=0,
            losses=0,
            undelivered=0,
            excluded=(),
            not_before=0.0,
            ended_at=None,
            error=None,
            acknowledged_at=None,
        )
        entry.confirmed = ()
        self.retention.drop_spent(entry)
        self._wait(entry, Event.REVIVE, status, now=now)

    def forgive(self, entry: TaskEntry, *, now: float) -> None:
        """Let the workers that failed a task have it again: it has waited long enough for another.

        While another worker is connected, however busy or stuck, the scheduler gives the task to
        none that failed it. Only trying again tells whether the task or the worker was at fault.
        """
        self.scheduler.remove(entry.id)
        self._wait(entry, Event.FORGIVE, entry.status.changed(excluded=()), now=now)

    def _wait(self, entry: TaskEntry, event: Event, status: TaskStatus, *, now: float) -> None:
        """Put the task into the queue, with this status."""
        self.step.change(entry, event, status, self._waiting_timers(entry, status, now=now))
        self.scheduler.add(entry.waiting(), now=now)

    def _waiting_timers(
        self, entry: TaskEntry, status: TaskStatus, *, now: float
    ) -> dict[TimerKind, float]:
        timers: dict[TimerKind, float] = {}
        if entry.expires_at is not None:
            timers["expire"] = entry.expires_at
        if status.excluded:
            timers["exclusion"] = max(now, status.not_before) + self._timers.retry_most
        return timers

    # ---- attempts ------------------------------------------------------------------------------

    def dispatch(self, *, now: float) -> None:
        """Lease waiting tasks to free workers, as the scheduler picks them."""
        while (pick := self.scheduler.next_pick(now=now)) is not None:
            assignments = []
            for task_id in pick.task_ids:
                self.at_work_on = task_id
                try:
                    assignments.append(self._lease(task_id, pick.session, now))
                except Exception:
                    self.scheduler.released(pick.session, task_id, ran=None, now=now)
                    raise
            self.step.send(pick.session, Assign(tuple(assignments)))

    def _lease(self, task_id: TaskId, session: PeerId, now: float) -> Assignment:
        entry = self.step.tasks.get(task_id)
        assert entry is not None
        assert entry.checked is not None
        worker = self.sessions.workers[session]
        status = entry.status.changed(
            state=TaskState.LEASED,
            incarnation=self._incarnation,
            attempt=entry.status.attempt + 1,
            worker=worker.hello.name,
            worker_key=worker.credentials.key,
            leased_at=now,
            started_at=None,
        )
        # It may have to wait for everything that the worker was given before it.
        run = now + self.scheduler.longest_hold(session) + RUN_LIMIT_MARGIN
        lease = now + self._timers.dispatch
        self.step.change(entry, Event.LEASE, status, {"lease": lease, "run": run})
        entry.session, entry.delivered = session, False
        return Assignment(task=entry.request, fence=status.fence, run_limit=entry.checked.run_limit)

    def may_claim(self, task_id: TaskId, fence: Fence, worker: WorkerSession) -> bool:
        """Return whether this worker holds the task's lease under this fence.

        A worker chooses its name itself, and a fence may become known. So the lease belongs to the
        key it was given to as well, and never to a key for other queues. (A lease from before the
        broker had keys belongs to no key.)
        """
        entry = self.step.tasks.get(task_id)
        return (
            entry is not None
            and entry.status.state.is_leased
            and entry.status.fence == fence
            and entry.status.worker == worker.hello.name
            and entry.status.worker_key in ("", worker.credentials.key)
            and worker.credentials.allows_queue(entry.status.queue)
        )

    def current(self, task_id: TaskId, fence: Fence, session: PeerId) -> TaskEntry | None:
        """Return the task of a worker's answer; None, and count it, if it does not hold the lease.

        Only the session that was given the lease, or has claimed it, answers for the attempt.
        """
        entry = self.step.tasks.get(task_id)
        if entry is None or entry.session != session or entry.status.fence != fence:
            self.stale_answers += 1
            return None
        self.at_work_on = task_id
        return entry

    def renew(self, entry: TaskEntry, *, now: float) -> None:
        """Extend the lease: its worker has named the fence."""
        entry.delivered = True
        self.deadlines.set(("lease", entry.id, 0), now + self._timers.lease)

    def start(self, entry: TaskEntry, *, loading: bool, now: float) -> None:
        """Record that the worker has begun to load the model, or to run the attempt."""
        self.renew(entry, now=now)
        state = TaskState.LOADING if loading else TaskState.RUNNING
        if entry.status.state in (state, TaskState.RUNNING):
            return  # a duplicate message, or one that a later one has overtaken
        assert entry.checked is not None
        limit = entry.checked.spec.load_limit if loading else entry.checked.run_limit
        self.step.change(
            entry,
            Event.LOAD if loading else Event.RUN,
            entry.status.changed(state=state, started_at=now),
            {"lease": now + self._timers.lease, "run": now + limit + RUN_LIMIT_MARGIN},
        )
        assert entry.session is not None  # the sender has claimed the attempt
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
        """Pass the worker's progress on to the clients that watch the task."""
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
        """Let a worker continue an attempt it still holds, perhaps over a new connection."""
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
        status = entry.status
        if status.started_at is None and status.leased_at is not None:
            # Its start was lost, or not worth a message: it began when it must have.
            entry.status = status.changed(started_at=max(status.leased_at, now - ran))
        self._finish(entry, TaskState.SUCCEEDED, now=now, outputs=outputs, outcome="succeeded")

    def fail(self, entry: TaskEntry, error: TaskError, *, now: float) -> None:
        """End the attempt with the model's error, and retry if that may help."""
        self._end_attempt(entry, now=now)
        failures = entry.status.failures + 1
        excluded = with_name(entry.status.excluded, entry.status.worker)
        spent = failures >= entry.request.max_attempts
        if not error.retryable and (spent or not self._may_load_elsewhere(entry, excluded, now)):
            self._finish(entry, TaskState.FAILED, now=now, error=error, outcome="failed")
            return
        self._retry_or_die(
            entry,
            entry.status.changed(failures=failures, excluded=excluded),
            spent=spent,
            tries=failures,
            outcome="timed_out" if error.code == "timed_out" else "failed",
            error=error,
            now=now,
        )

    def _may_load_elsewhere(self, entry: TaskEntry, excluded: tuple[str, ...], now: float) -> bool:
        """Return whether the attempt failed before it ran and another worker could take the task.

        A failure to load says nothing about the task: the other machine may have the weights or
        libraries that this one lacks.
        """
        if entry.status.state is TaskState.RUNNING or entry.checked is None:
            return False
        return self.scheduler.has_other(entry.waiting(), excluded, now=now)

    def crash(self, entry: TaskEntry, *, alone: bool, detail: str, now: float) -> None:
        """End an attempt whose worker process died; charge the task only if it ran alone."""
        self._end_attempt(entry, now=now)
        self.crashes += 1
        message, _, traceback = f"its worker process died: {detail}".partition("\n")
        error = TaskError(code="worker_crashed", message=message, traceback=traceback)
        status, spent, tries = with_crash(entry.status, self._limits, alone=alone)
        self._retry_or_die(
            entry, status, spent=spent, tries=tries, outcome="crashed", error=error, now=now
        )

    def lose(self, entry: TaskEntry, *, overdue: bool = False, now: float) -> None:
        """Revoke the lease: its worker fell silent, or never showed that it has the attempt.

        ``overdue``: or it names the fence, but the attempt should have ended long ago.
        """
        session = entry.session
        self._end_attempt(entry, now=now, may_still_run=True)
        status = entry.status
        if entry.delivered or status.started_at is not None:
            status = status.changed(losses=status.losses + 1)
            self.leases_lost += 1
            spent = status.losses >= self._limits.losses
            outcome, message = "lost", "its worker fell silent"
            if overdue:
                message = "it exceeded its limits, and its worker did not stop it"
        else:
            status = status.changed(undelivered=status.undelivered + 1)
            spent = status.undelivered >= self._limits.undelivered
            outcome, message = "undelivered", "its worker never started it"
        if session is not None:
            self.step.send(session, Abandon(task_id=entry.id, fence=entry.status.fence, grace=0.0))
        error = TaskError(code=f"attempt_{outcome}", message=message)
        self._retry_or_die(
            entry, status, spent=spent, tries=0, outcome=outcome, error=error, now=now
        )

    def hand_back(self, entry: TaskEntry, *, trouble: str = "", now: float) -> None:
        """Queue the task again: its worker returned the attempt without having run it.

        The worker is draining, or it is in ``trouble`` and gets no tasks until that is over.
        Trouble is not the task's fault and is not counted against it. Only a ``strict`` task,
        which must not wait for a worker, dies if there is no other.
        """
        self._end_attempt(entry, now=now)
        status, message = entry.status, "its worker returned it"
        if trouble:
            message = f"{status.worker} returned it: {trouble}"
            assert entry.checked is not None
            spent = entry.request.strict and not self.scheduler.could_run(
                entry.checked, (status.queue,)
            )
        else:
            status = status.changed(undelivered=status.undelivered + 1)
            spent = status.undelivered >= self._limits.undelivered
        error = TaskError(code="attempt_handed_back", message=message)
        self._retry_or_die(
            entry, status, spent=spent, tries=0, outcome="handed_back", error=error, now=now
        )

    def cancel(self, entry: TaskEntry, *, now: float) -> None:
        """End the task now. A worker that is running it is asked to stop, then forced to."""
        self.at_work_on = entry.id
        self._take_away(entry, now=now)
        error = TaskError(code="cancelled", message="the task was cancelled")
        self._finish(entry, TaskState.CANCELLED, now=now, error=error, outcome="cancelled")

    def give_up(self, entry: TaskEntry, message: str, *, now: float) -> None:
        """End a task on which the broker itself failed. An operator may requeue it."""
        self._take_away(entry, now=now)
        error = TaskError(code="broker_error", message=message)
        self._finish(entry, TaskState.DEAD, now=now, error=error, outcome="broker_error")

    def _take_away(self, entry: TaskEntry, *, now: float) -> None:
        """Take the task from its worker, or out of the queue."""
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

    def expire(self, entry: TaskEntry, message: str = "", *, now: float) -> None:
        """End a task that did not start in time."""
        self.scheduler.remove(entry.id)
        error = TaskError(
            code="expired",
            message=message
            or f"not started within {entry.request.expires_in:g} s of its acceptance",
        )
        self._finish(entry, TaskState.EXPIRED, now=now, error=error)

    # ---- internals -----------------------------------------------------------------------------

    def _end_attempt(
        self, entry: TaskEntry, *, now: float, ran: float | None = None, may_still_run: bool = False
    ) -> None:
        """Revoke the lease and return the worker's credit.

        If the worker may still be running the attempt, it becomes a zombie and the credit stays
        taken until the worker says that it has stopped.
        """
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
        """Queue the task again, after a backoff if ``tries`` is not 0; end it if ``spent``."""
        if spent:
            entry.status = status  # the counters; the record below carries them
            self._finish(entry, TaskState.DEAD, now=now, error=error, outcome=outcome)
            return
        self.retries += 1
        policy = RetryPolicy(first=self._timers.retry_first, most=self._timers.retry_most)
        delay = policy.delay(tries, self._rng) if tries else 0.0
        status = with_report(status, outcome, error, now=now, keep=self._limits.history)
        status = status.changed(state=TaskState.QUEUED, not_before=now + delay)
        self._wait(entry, Event.RETRY, status, now=now)
        if entry.expires_at is not None and entry.expires_at <= now:
            self.expire(entry, "its deadline passed before it could be retried", now=now)
            return
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
        status = status.changed(state=state, ended_at=now, outputs=outputs, error=error)
        purge_at = self.retention.purge_at(status, now=now)
        self.step.change(entry, ENDING_EVENTS[state], status, {"purge": purge_at})
        self.step.tell(entry, finished_message(entry))
