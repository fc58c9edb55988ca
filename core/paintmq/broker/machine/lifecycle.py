"""The life of a task in the broker: into the queue, back into it, and to its end.

What happens while a worker holds a task is in ``leases.py``; the table of all transitions is in
``transitions.py``.

Rule 1: each method that changes a task's status writes exactly one record of the change.
Rule 2: a final status is left only by ``revive``, which an operator asks for.
"""

import random

from attrs import define, field

from paintmq.broker.machine.history import reported, with_crash, with_name, with_report
from paintmq.broker.machine.leases import RUN_LIMIT_MARGIN
from paintmq.broker.machine.retention import Retention, finished_message
from paintmq.broker.machine.retry import RetryPolicy
from paintmq.broker.machine.step import DeadlineKey, StepBuilder
from paintmq.broker.machine.tasks import NO_TIMERS, TaskEntry
from paintmq.broker.machine.transitions import ENDING_EVENTS, Event, TimerKind
from paintmq.broker.machine.zombies import ZombieAttempts
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Limits, Timers
from paintmq.deadlines import Deadlines
from paintmq.task import LEASED_STATES, PayloadInfo, TaskError, TaskState
from paintmq.task_status import TaskStatus
from paintmq.wire.messages import Abandon, Progressed


@define
class Lifecycle:
    """The transitions of tasks into their queues and to their ends."""

    step: StepBuilder
    scheduler: Scheduler
    deadlines: Deadlines[DeadlineKey]
    zombies: ZombieAttempts
    retention: Retention
    _timers: Timers
    _limits: Limits
    _rng: random.Random
    retries: int = field(default=0, init=False)
    leases_lost: int = field(default=0, init=False)
    crashes: int = field(default=0, init=False)
    paused: tuple[str, ...] = field(default=(), init=False)
    """Queues whose tasks wait until they are resumed: the scheduler does not know of them."""
    removed: tuple[str, ...] = field(default=(), init=False)
    """Queues that were removed since the start; what a worker gives back goes elsewhere."""
    strayed: list[TaskEntry] = field(factory=list[TaskEntry], init=False)
    """Tasks that are back in a queue that was removed: to be brought elsewhere in this step."""

    # ---- into the queue ------------------------------------------------------------------------

    def accept(self, entry: TaskEntry, *, now: float) -> None:
        """Accept a new task into its queue."""
        self.step.at_work_on = entry.id
        self.step.accept(entry, self._waiting_timers(entry, entry.status, now=now))
        self._line_up(entry, now=now)

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
            self._line_up(entry, now=now)

    def adopt(self, entry: TaskEntry, owner: str, allowed: tuple[str, ...] | None) -> None:
        """Give an owner to a task that has none: it is older than the broker's keys."""
        status = entry.status.changed(owner=owner, allowed=allowed)
        self.step.change(entry, Event.ADOPT, status, entry.timers)

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
        self._line_up(entry, now=now)

    def _line_up(self, entry: TaskEntry, *, now: float) -> None:
        """Have the scheduler give the task to a worker, unless its queue is paused."""
        if entry.status.queue in self.removed:
            self.strayed.append(entry)
        elif entry.status.queue not in self.paused:
            self.scheduler.add(entry.waiting(), now=now)

    def move(self, entry: TaskEntry, queue: str, reason: str, *, now: float) -> None:
        """Bring a waiting task, which the scheduler does not know, into another queue."""
        self.step.at_work_on = entry.id
        status = entry.status.changed(queue=queue)
        self.step.move(entry, status, self._waiting_timers(entry, status, now=now))
        self._line_up(entry, now=now)
        attempt = entry.status.attempt
        self.step.tell(
            entry,
            Progressed(task_id=entry.id, state=status.state, attempt=attempt, note=reason),
        )

    def abandon(self, entry: TaskEntry, reason: str, *, now: float) -> None:
        """End a waiting task that no queue can hold any more. An operator may requeue it."""
        error = TaskError(code="queue_removed", message=reason)
        self._finish(entry, TaskState.DEAD, now=now, error=error)

    def _waiting_timers(
        self, entry: TaskEntry, status: TaskStatus, *, now: float
    ) -> dict[TimerKind, float]:
        if entry.expires_at is None and not status.excluded:
            return NO_TIMERS
        timers: dict[TimerKind, float] = {}
        if entry.expires_at is not None:
            timers["expire"] = entry.expires_at
        if status.excluded:
            timers["exclusion"] = max(now, status.not_before) + self._timers.retry_most
        return timers

    # ---- endings -----------------------------------------------------------------------------

    def succeed(
        self, entry: TaskEntry, outputs: tuple[PayloadInfo, ...], *, ran: float, now: float
    ) -> None:
        self._end_attempt(entry, ran=ran, now=now)
        status = entry.status
        started_at = status.started_at
        if started_at is None and status.leased_at is not None:
            # Its start was lost, or not worth a message: it began when it must have.
            started_at = max(status.leased_at, now - ran)
        self._finish(
            entry,
            TaskState.SUCCEEDED,
            now=now,
            outputs=outputs,
            outcome="succeeded",
            started_at=started_at,
        )

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
        self.step.at_work_on = entry.id
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
        started_at: float | None = None,
    ) -> None:
        """End the task; ``started_at``: when its attempt began, if that was not known before."""
        status = entry.status
        started_at = status.started_at if started_at is None else started_at
        history = status.history
        if outcome and status.state in LEASED_STATES:
            keep = self._limits.history
            history = reported(status, outcome, error, started_at=started_at, now=now, keep=keep)
        status = status.changed(
            state=state,
            started_at=started_at,
            ended_at=now,
            outputs=outputs,
            error=error,
            history=history,
        )
        purge_at = self.retention.purge_at(status, now=now)
        self.step.change(entry, ENDING_EVENTS[state], status, {"purge": purge_at})
        self.step.tell(entry, finished_message(entry))
