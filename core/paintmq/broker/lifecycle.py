"""The life of a task in the broker: every transition, and nothing else.

Rule 1: each method that changes a task's status writes exactly one record of it.
Rule 2: a terminal status is left only by ``revive``, which an operator asks for.
Rule 3: who answers for an attempt is decided by the fence alone; see ``current``.
"""

import random
from collections.abc import Sequence
from typing import Literal, TypeAlias

from attrs import define, evolve, field, frozen

from paintmq.broker.deadlines import Deadlines
from paintmq.broker.records import Record, TaskAccepted, TaskChanged, TaskPurged
from paintmq.broker.retry import RetryPolicy
from paintmq.broker.scheduler import Scheduler, Waiting
from paintmq.broker.sessions import Sessions
from paintmq.broker.tasks import TaskEntry, TaskTable
from paintmq.config import Limits, Timers
from paintmq.task import (
    AttemptReport,
    Fence,
    PayloadInfo,
    PeerId,
    TaskError,
    TaskId,
    TaskState,
    TaskStatus,
)
from paintmq.wire.messages import (
    Abandon,
    Assign,
    Assignment,
    Finished,
    FromBroker,
    Progressed,
)


@frozen
class Send:
    """The shell must send this message to this peer."""

    peer: PeerId
    message: FromBroker


@frozen
class Step:
    """What one input to the machine led to. Records must be durable before the sends leave."""

    records: tuple[Record, ...] = ()
    sends: tuple[Send, ...] = ()


DeadlineKind: TypeAlias = Literal["expire", "lease", "run", "purge", "limbo", "peer"]
DeadlineKey: TypeAlias = tuple[DeadlineKind, str | PeerId, int]

# The worker enforces a run limit itself; the broker only steps in when it did not.
RUN_LIMIT_MARGIN = 30.0


@define
class Lifecycle:
    """Tasks and their transitions; collects what each input to the machine leads to."""

    tasks: TaskTable
    sessions: Sessions
    scheduler: Scheduler
    _timers: Timers
    _limits: Limits
    _incarnation: int
    _rng: random.Random
    deadlines: Deadlines[DeadlineKey] = field(factory=Deadlines[DeadlineKey], init=False)
    stale_answers: int = field(default=0, init=False)
    retries: int = field(default=0, init=False)
    leases_lost: int = field(default=0, init=False)
    crashes: int = field(default=0, init=False)
    _records: list[Record] = field(factory=list[Record], init=False)
    _sends: list[Send] = field(factory=list[Send], init=False)
    # Attempts that were cancelled or lost while their worker may still be at it: its credit is
    # given back to the scheduler only when the worker says so, or is gone.
    _limbo: dict[tuple[TaskId, int], PeerId] = field(
        factory=dict[tuple[TaskId, int], PeerId], init=False
    )
    # Acknowledged results, oldest first, with their bytes: the first to go when memory is short.
    _spent: dict[TaskId, int] = field(factory=dict[TaskId, int], init=False)
    _spent_bytes: int = field(default=0, init=False)

    def take_step(self) -> Step:
        """Return what was collected since the last call."""
        step = Step(tuple(self._records), tuple(self._sends))
        self._records, self._sends = [], []
        return step

    def send(self, peer: PeerId, message: FromBroker) -> None:
        self._sends.append(Send(peer, message))

    # ---- into the queue ------------------------------------------------------------------------

    def accept(self, entry: TaskEntry, *, now: float) -> None:
        """Take a new task in and let it wait."""
        self.tasks.add(entry)
        self._records.append(TaskAccepted(entry.request, entry.status))
        self._wait(entry, now=now)

    def restore(self, entry: TaskEntry, *, now: float) -> None:
        """Take in a task that the journal held when the broker started."""
        self.tasks.add(entry)
        status = entry.status
        if status.state.is_final:
            self._schedule_purge(entry, now=now)
            if status.acknowledged_at is not None:
                self._note_spent(entry)
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
        self._change(
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
        self.scheduler.add(waiting(entry), now=now)

    # ---- attempts ------------------------------------------------------------------------------

    def dispatch(self, *, now: float) -> None:
        """Give waiting tasks to free workers, as the scheduler picks them."""
        while (pick := self.scheduler.next_pick(now=now)) is not None:
            assignments = [self._lease(task_id, pick.session, now) for task_id in pick.task_ids]
            self.send(pick.session, Assign(tuple(assignments)))

    def _lease(self, task_id: TaskId, session: PeerId, now: float) -> Assignment:
        entry = self.tasks.get(task_id)
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
        self._change(entry, "lease", status)
        entry.session, entry.delivered = session, False
        self.deadlines.set(("lease", task_id, 0), now + self._timers.dispatch)
        return Assignment(task=entry.request, fence=status.fence, run_limit=entry.checked.run_limit)

    def holds(self, task_id: TaskId, fence: Fence, worker: str) -> bool:
        """Return whether this worker, by this fence, has the right to answer for the task."""
        entry = self.tasks.get(task_id)
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
        return self.tasks.get(task_id)

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
        self._change(entry, "start", evolve(entry.status, state=state, started_at=now))
        if entry.session is not None:
            self.scheduler.started(entry.session, entry.id, loading=loading, now=now)
        self._tell(
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
        self._tell(
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
            self.scheduler.claimed(session, waiting(entry), now=now)
        self.renew(entry, now=now)

    def succeed(
        self, entry: TaskEntry, outputs: tuple[PayloadInfo, ...], *, ran: float, now: float
    ) -> None:
        self._end_attempt(entry, ran=ran, now=now)
        self._finish(entry, TaskState.SUCCEEDED, now=now, outputs=outputs, outcome="succeeded")

    def fail(self, entry: TaskEntry, error: TaskError, *, now: float) -> None:
        """End the attempt with the model's error; try again if that may help."""
        self._end_attempt(entry, now=now)
        if not error.retryable:
            self._finish(entry, TaskState.FAILED, now=now, error=error, outcome="failed")
            return
        failures = entry.status.failures + 1
        status = evolve(
            entry.status,
            failures=failures,
            excluded=_with(entry.status.excluded, entry.status.worker),
        )
        self._retry_or_die(
            entry,
            status,
            spent=failures >= entry.request.max_attempts,
            tries=failures,
            outcome="timed_out" if error.code == "timed_out" else "failed",
            error=error,
            now=now,
        )

    def crash(self, entry: TaskEntry, *, alone: bool, detail: str, now: float) -> None:
        """End the attempt with its worker process; blame the task only if it ran alone."""
        self._end_attempt(entry, now=now)
        self.crashes += 1
        status = entry.status
        error = TaskError(code="worker_crashed", message=f"its worker process died: {detail}")
        if alone:
            status = evolve(status, crashes=status.crashes + 1)
            spent, tries = status.crashes >= self._limits.crashes, status.crashes
        elif status.suspect:
            # A suspect is only ever dispatched alone, so this worker broke that rule; bound it.
            status = evolve(status, losses=status.losses + 1)
            spent, tries = status.losses >= self._limits.losses, status.losses
        else:
            status = evolve(status, suspect=True)
            spent, tries = False, 1
        self._retry_or_die(
            entry, status, spent=spent, tries=tries, outcome="crashed", error=error, now=now
        )

    def lose(self, entry: TaskEntry, *, now: float) -> None:
        """Take the lease back: its worker fell silent, or never showed that it has the attempt."""
        session = entry.session
        self._end_attempt(entry, now=now, limbo=True)
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
            self.send(session, Abandon(task_id=entry.id, fence=entry.status.fence, grace=0.0))
        error = TaskError(code=f"attempt_{outcome}", message=words)
        self._retry_or_die(
            entry, status, spent=spent, tries=0, outcome=outcome, error=error, now=now
        )

    def hand_back(self, entry: TaskEntry, *, now: float) -> None:
        """Queue the task again: its worker gave the attempt back unharmed (it drains)."""
        self._end_attempt(entry, now=now)
        status = evolve(entry.status, undelivered=entry.status.undelivered + 1)
        self._retry_or_die(
            entry,
            status,
            spent=status.undelivered >= self._limits.undelivered,
            tries=0,
            outcome="handed_back",
            error=TaskError(code="attempt_handed_back", message="its worker gave it back"),
            now=now,
        )

    def cancel(self, entry: TaskEntry, *, now: float) -> None:
        """End the task now; a worker that is at it is asked to stop, then made to."""
        if entry.status.state.is_leased:
            session, fence = entry.session, entry.status.fence
            self._end_attempt(entry, now=now, limbo=True)
            if session is not None:
                self.send(
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

    # ---- attempts that ended while their worker was still at them -------------------------------

    def leave_limbo(self, task_id: TaskId, attempt: int, *, now: float) -> None:
        """Give the worker's credit back: it says that it has stopped, or it is gone."""
        session = self._limbo.pop((task_id, attempt), None)
        self.deadlines.discard(("limbo", task_id, attempt))
        if session is not None:
            self.scheduler.released(session, task_id, ran=None, now=now)

    def settle_limbo(self, session: PeerId, running: Sequence[TaskId], *, now: float) -> None:
        """Give back the credit of attempts that the worker's heartbeat no longer names."""
        for task_id, attempt in [key for key, peer in self._limbo.items() if peer == session]:
            if task_id not in running:
                self.leave_limbo(task_id, attempt, now=now)

    # ---- after the end -------------------------------------------------------------------------

    def acknowledge(self, entry: TaskEntry, *, now: float) -> None:
        """Note that a client has the result, so that it need not be kept for long."""
        if not entry.status.state.is_final or entry.status.acknowledged_at is not None:
            return
        self._change(entry, "acknowledge", evolve(entry.status, acknowledged_at=now))
        self._schedule_purge(entry, now=now)
        self._note_spent(entry)
        while self._spent_bytes > self._limits.max_spent_bytes:
            oldest = self.tasks.get(next(iter(self._spent)))
            assert oldest is not None
            self.purge(oldest)

    def purge(self, entry: TaskEntry) -> None:
        """Forget the task."""
        self._records.append(TaskPurged(entry.id))
        self.tasks.remove(entry)
        self.deadlines.discard(("purge", entry.id, 0))
        self._spent_bytes -= self._spent.pop(entry.id, 0)

    def finished_message(self, entry: TaskEntry) -> Finished:
        """Return what a client is told of a task that has ended."""
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

    # ---- inside --------------------------------------------------------------------------------

    def _change(self, entry: TaskEntry, event: str, status: TaskStatus) -> None:
        self.tasks.change(entry, status)
        self._records.append(TaskChanged(entry.id, event, status))

    def _end_attempt(
        self, entry: TaskEntry, *, now: float, ran: float | None = None, limbo: bool = False
    ) -> None:
        """Take the lease away; the worker's credit too, unless it may still be at it (limbo)."""
        self.deadlines.discard(("lease", entry.id, 0))
        self.deadlines.discard(("run", entry.id, 0))
        session, entry.session = entry.session, None
        if session is None:
            return
        if limbo:
            key = (entry.id, entry.status.attempt)
            self._limbo[key] = session
            patience = self._timers.cancel_grace + self._timers.lease
            self.deadlines.set(("limbo", *key), now + patience)
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
        status = self._with_report(status, outcome, error, now)
        self._change(
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
        self._tell(
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
            status = self._with_report(status, outcome, error, now)
        self.deadlines.discard(("expire", entry.id, 0))
        self._change(
            entry,
            "finish",
            evolve(status, state=state, ended_at=now, outputs=outputs, error=error),
        )
        self._schedule_purge(entry, now=now)
        self._tell(entry, self.finished_message(entry))

    def _with_report(
        self, status: TaskStatus, outcome: str, error: TaskError | None, now: float
    ) -> TaskStatus:
        report = AttemptReport(
            attempt=status.attempt,
            worker=status.worker,
            leased_at=status.leased_at if status.leased_at is not None else now,
            started_at=status.started_at,
            ended_at=now,
            outcome=outcome,
            error=error,
        )
        return evolve(status, history=(*status.history, report)[-self._limits.history :])

    def _note_spent(self, entry: TaskEntry) -> None:
        size = sum(output.size for output in entry.status.outputs)
        self._spent[entry.id] = size
        self._spent_bytes += size

    def _schedule_purge(self, entry: TaskEntry, *, now: float) -> None:
        status, timers = entry.status, self._timers
        ended = status.ended_at if status.ended_at is not None else now
        if status.state is TaskState.DEAD:
            when = ended + timers.dead_kept
        elif status.acknowledged_at is not None:
            when = status.acknowledged_at + timers.result_kept
        else:
            when = ended + timers.result_kept_at_most
        self.deadlines.set(("purge", entry.id, 0), when)

    def _tell(self, entry: TaskEntry, message: FromBroker) -> None:
        for client in entry.watchers:
            self.send(client, message)


def waiting(entry: TaskEntry) -> Waiting:
    """Return what the scheduler needs to know of the task."""
    assert entry.checked is not None
    return Waiting(
        request=entry.request,
        checked=entry.checked,
        queue=entry.status.queue,
        rank=entry.status.rank,
        not_before=entry.status.not_before,
        suspect=entry.status.suspect,
        excluded=entry.status.excluded,
    )


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if name in names or not name else (*names, name)
