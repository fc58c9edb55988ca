"""The broker as a pure state machine: messages in, records and messages out.

No sockets, no clock, no threads: ``now`` is an argument, so that a test, a simulation and a server
run the very same code. What each message means is decided here; what becomes of a task, in
``lifecycle.py``; who runs it, in ``scheduler.py``.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from attrs import evolve

from paintmq.broker.admission import Admission
from paintmq.broker.inquiries import Inquiries
from paintmq.broker.lifecycle import Lifecycle, Send, Step
from paintmq.broker.records import BrokerBooted, StoredTask
from paintmq.broker.scheduler import Scheduler
from paintmq.broker.sessions import (
    ClientSession,
    Sessions,
    WorkerSession,
    version_objection,
)
from paintmq.broker.tasks import TaskEntry, TaskTable
from paintmq.catalog import Catalog, CheckedTask
from paintmq.config import Limits, QueueConfig, Timers
from paintmq.errors import InvalidTaskError
from paintmq.monitoring.statistics import BrokerStatistics
from paintmq.routing import Router
from paintmq.task import Fence, PeerId, TaskError, TaskId, TaskRequest, TaskState, TaskStatus
from paintmq.wire.messages import (
    OLDEST_PROTOCOL_VERSION,
    PROTOCOL_VERSION,
    Abandon,
    Accepted,
    Ask,
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptRecorded,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    BrokerHeartbeat,
    Cancel,
    CancelAnswered,
    ClientGoodbye,
    ClientHello,
    Draining,
    Heartbeat,
    ModelLoaded,
    ModelUnloaded,
    Preload,
    Query,
    Refused,
    Rejected,
    ResultReceived,
    Submit,
    ToBroker,
    UnknownTask,
    Welcome,
    WhoAreYou,
    WorkerGoodbye,
    WorkerHello,
    WorkerWelcome,
)

__all__ = ["BrokerMachine", "Send", "Step"]


class BrokerMachine:
    """All queue state of one broker.

    Guarantees: an accepted task reaches exactly one ending, whatever messages arrive in whatever
    order; an answer with an old fence changes nothing; no worker holds more than its credit.
    """

    def __init__(
        self,
        *,
        incarnation: int,
        catalog: Catalog,
        scheduler: Scheduler,
        queues: Mapping[str, QueueConfig],
        timers: Timers,
        limits: Limits,
        admission: str,
        rng: random.Random,
    ) -> None:
        self._incarnation = incarnation
        self._timers = timers
        self._scheduler = scheduler
        self._tasks = TaskTable.for_queues(queues)
        self._sessions = Sessions()
        self._life = Lifecycle(
            self._tasks, self._sessions, scheduler, timers, limits, incarnation, rng
        )
        self._admission = Admission(
            catalog, queues, scheduler, self._tasks, limits, strict=admission == "strict"
        )
        self._inquiries = Inquiries(
            self._tasks, self._sessions, self._life, scheduler, self._admission
        )
        self._now = 0.0

    # ---- inputs --------------------------------------------------------------------------------

    def restore(self, tasks: Sequence[StoredTask], *, now: float) -> Step:
        """Take over what the journal held. Call it once, before anything else."""
        self._inquiries.started_at = now
        for task in tasks:
            entry = TaskEntry(task.request, task.status, self._checked(task.request))
            self._life.restore(entry, now=now)
        step = self._finish_step(now)
        return Step((BrokerBooted(self._incarnation, now), *step.records), step.sends)

    def receive(self, peer: PeerId, message: ToBroker, *, now: float) -> Step:
        """Take in what a client or a worker sent."""
        self._advance(now)
        if peer in self._sessions.workers:
            self._from_worker(self._sessions.workers[peer], message, now)
        elif peer in self._sessions.clients:
            self._from_client(peer, message, now)
        elif isinstance(message, WorkerHello):
            self._worker_hello(peer, message, now)
        elif isinstance(message, ClientHello):
            self._client_hello(peer, message, now)
        elif not isinstance(message, ClientGoodbye | WorkerGoodbye):
            # It knew a broker that ran here before; it will introduce itself and repeat.
            self._life.send(peer, WhoAreYou())
        return self._finish_step(now)

    def peer_lost(self, peer: PeerId, *, now: float) -> Step:
        """Take note that a peer cannot be reached. It may come back: its leases run on."""
        self._advance(now)
        self._drop(peer, now, gone=False)
        return self._finish_step(now)

    def tick(self, *, now: float) -> Step:
        """Let time pass."""
        self._advance(now)
        return self._finish_step(now)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is next worth calling; None while nothing can fall due."""
        wakeup = self._scheduler.next_wakeup(now=self._now)
        deadline = self._life.deadlines.next()
        return min((t for t in (wakeup, deadline) if t is not None), default=None)

    def replace_router(self, router: Router, *, now: float) -> Step:
        """Let another router decide from now on; no task is touched."""
        self._advance(now)
        self._scheduler.replace_router(router, now=now)
        return self._finish_step(now)

    def set_disk_full(self, *, full: bool) -> None:
        """Refuse new tasks while the disk is full; running work is still recorded."""
        self._admission.disk_full = full

    def set_draining(self) -> None:
        """Accept and dispatch nothing more; attempts that run may still end."""
        self._admission.draining = True

    # ---- outputs -------------------------------------------------------------------------------

    def statistics(self, *, now: float) -> BrokerStatistics:
        return self._inquiries.statistics(now=now)

    def stored(self) -> dict[TaskId, StoredTask]:
        """Return what a restart from the journal must find."""
        return self._tasks.stored()

    def is_idle(self) -> bool:
        """Return whether no attempt is under way."""
        return not any(entry.status.state.is_leased for entry in self._tasks)

    def unfinished(self) -> Iterable[TaskEntry]:
        """Return the tasks that have not ended, in order of acceptance."""
        return (entry for entry in self._tasks if not entry.status.state.is_final)

    def check_invariants(self) -> None:
        """Raise AssertionError if the state contradicts itself; for tests and simulations."""
        self._tasks.check_invariants()
        self._scheduler.check_invariants()
        deadlines = self._life.deadlines
        for entry in self._tasks:
            state = entry.status.state
            leased = ("lease", entry.id, 0) in deadlines
            assert leased == state.is_leased, f"{entry.id} is {state} and leased: {leased}"
            assert state.is_leased or entry.session is None, f"{entry.id} is {state} on a worker"
            purged = ("purge", entry.id, 0) in deadlines
            assert purged == state.is_final, f"{entry.id} is {state}, to be purged: {purged}"
            if state is TaskState.QUEUED:
                assert self._scheduler.is_waiting(entry.id), f"{entry.id} waits for nothing"

    # ---- time ----------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Act on every deadline that has passed."""
        self._now = now
        for kind, key, number in self._life.deadlines.pop_due(now):
            if kind == "peer":
                assert isinstance(key, bytes)
                self._drop(PeerId(key), now, gone=True)
                continue
            assert isinstance(key, str)
            task_id = TaskId(key)
            if kind == "limbo":
                self._life.leave_limbo(task_id, number, now=now)
                continue
            entry = self._tasks.get(task_id)
            assert entry is not None
            match kind:
                case "expire":
                    self._life.expire(entry, now=now)
                case "lease" | "run":
                    self._life.lose(entry, now=now)
                case "purge":
                    self._life.purge(entry)
                case _:
                    assert_never(kind)

    def _finish_step(self, now: float) -> Step:
        if not self._admission.draining:
            self._life.dispatch(now=now)
            while (preload := self._scheduler.next_preload(now=now)) is not None:
                session, model = preload
                self._life.send(session, Preload(model))
        return self._life.take_step()

    # ---- clients -------------------------------------------------------------------------------

    def _client_hello(self, peer: PeerId, hello: ClientHello, now: float) -> None:
        if self._refuses(peer, hello.oldest, hello.newest):
            return
        self._sessions.clients[peer] = ClientSession(peer, hello)
        self._heard(peer, now)
        self._life.send(
            peer,
            Welcome(
                incarnation=self._incarnation,
                durable_sequence=0,
                heartbeat=self._timers.heartbeat,
            ),
        )

    def _from_client(self, peer: PeerId, message: ToBroker, now: float) -> None:
        self._heard(peer, now)
        match message:
            case ClientHello():
                self._client_hello(peer, message, now)
            case Heartbeat():
                self._life.send(peer, BrokerHeartbeat())
            case Submit(request):
                self._submit(peer, request, now)
            case Cancel(task_id):
                self._life.send(peer, CancelAnswered(task_id, self._cancel(task_id, now)))
            case Query(task_ids):
                for task_id in task_ids:
                    self._query(peer, task_id, now)
            case ResultReceived(task_id):
                if (entry := self._tasks.get(task_id)) is not None:
                    self._life.acknowledge(entry, now=now)
            case Ask():
                self._life.send(peer, self._inquiries.answer(message, now=now))
            case ClientGoodbye():
                self._drop(peer, now, gone=True)
            case _:
                self._life.send(peer, Refused(f"a client does not send {type(message).__name__}"))

    def _submit(self, peer: PeerId, request: TaskRequest, now: float) -> None:
        known = self._tasks.get(request.id)
        if known is not None:
            self._inquiries.duplicates += 1
            if evolve(request, queue="") != evolve(known.request, queue=""):
                self._reject(
                    peer,
                    Rejected(
                        task_id=request.id,
                        code="conflict",
                        reason=f"task {request.id} was submitted before with other contents; "
                        f"use another id or idempotency key",
                    ),
                )
                return
            self._query(peer, request.id, now)
            return
        decision = self._admission.decide(request, now=now)
        if isinstance(decision, Rejected):
            self._reject(peer, decision, queue=request.queue)
            return
        queue, checked = decision
        status = TaskStatus(
            state=TaskState.QUEUED,
            queue=queue,
            accepted_at=now,
            rank=now - request.priority * self._timers.ageing,
        )
        entry = TaskEntry(request, status, checked)
        entry.watch(peer)
        self._life.accept(entry, now=now)
        self._tell_accepted(peer, entry, now)

    def _tell_accepted(self, peer: PeerId, entry: TaskEntry, now: float) -> None:
        state = entry.status.state
        reason = ""
        if state is TaskState.QUEUED:
            reason = self._scheduler.waiting_for(entry.id, now=now)
        self._life.send(
            peer,
            Accepted(
                task_id=entry.id,
                queue=entry.status.queue,
                durable_sequence=0,
                state=state,
                waiting_for=reason,
            ),
        )

    def _query(self, peer: PeerId, task_id: TaskId, now: float) -> None:
        entry = self._tasks.get(task_id)
        if entry is None:
            self._life.send(peer, UnknownTask(task_id))
            return
        entry.watch(peer)
        if entry.status.state.is_final:
            self._life.send(peer, self._life.finished_message(entry))
        else:
            self._tell_accepted(peer, entry, now)

    def _cancel(self, task_id: TaskId, now: float) -> str:
        entry = self._tasks.get(task_id)
        if entry is None:
            return "unknown"
        if not entry.status.state.is_final:
            self._life.cancel(entry, now=now)
        return "cancelled" if entry.status.state is TaskState.CANCELLED else "too_late"

    def _reject(self, peer: PeerId, rejected: Rejected, *, queue: str = "") -> None:
        self._inquiries.rejected += 1
        if queue in self._tasks.counts:
            self._tasks.counts[queue].rejected += 1
        self._life.send(peer, rejected)

    # ---- workers -------------------------------------------------------------------------------

    def _worker_hello(self, peer: PeerId, hello: WorkerHello, now: float) -> None:
        if self._refuses(peer, hello.oldest, hello.newest):
            return
        known = self._sessions.workers.get(peer)
        self._heard(peer, now)
        self._life.send(
            peer,
            WorkerWelcome(
                incarnation=self._incarnation,
                heartbeat=self._timers.heartbeat,
                lease=self._timers.lease,
            ),
        )
        if known is None or evolve(known.hello, running=()) != evolve(hello, running=()):
            self._join(peer, hello, rejoins=known is not None, now=now)
        self._claims(peer, hello.name, hello.running, now)
        # What the worker does not claim now, it no longer has: it was restarted.
        gone = {None} if hello.replaces in (b"", peer) else {None, hello.replaces}
        for entry in list(self._tasks):
            mine = entry.status.worker == hello.name and entry.session in gone
            if mine and entry.status.state.is_leased:
                self._life.lose(entry, now=now)
        if hello.replaces != peer:
            self._drop(hello.replaces, now, gone=True)

    def _join(self, peer: PeerId, hello: WorkerHello, *, rejoins: bool, now: float) -> None:
        held = self._held_by(peer) if rejoins else []
        if rejoins:
            self._scheduler.worker_left(peer, now=now)
        self._sessions.workers[peer] = WorkerSession(peer, hello)
        self._scheduler.worker_joined(peer, hello, now=now)
        for entry in held:
            entry.session = None
            self._life.claim(entry, peer, now=now)

    def _from_worker(self, worker: WorkerSession, message: ToBroker, now: float) -> None:
        peer = worker.peer
        self._heard(peer, now)
        match message:
            case WorkerHello():
                self._worker_hello(peer, message, now)
            case Heartbeat(running=running):
                self._life.send(peer, BrokerHeartbeat())
                self._claims(peer, worker.hello.name, running, now)
                self._life.settle_limbo(peer, [task_id for task_id, _ in running], now=now)
            case AttemptStarted(task_id=task_id, fence=fence, loading=loading):
                if (entry := self._current(peer, worker, task_id, fence, now)) is not None:
                    self._life.start(entry, loading=loading, now=now)
            case AttemptProgressed(
                task_id=task_id, fence=fence, step=step, total=total, preview=preview
            ):
                if (entry := self._current(peer, worker, task_id, fence, now)) is not None:
                    self._life.progress(entry, step, total, preview, now)
            case AttemptSucceeded() | AttemptFailed() | AttemptCrashed() | AttemptReturned():
                self._attempt_ended(peer, worker, message, now)
            case ModelLoaded():
                self._scheduler.model_loaded(peer, message, now=now)
            case ModelUnloaded():
                self._scheduler.model_unloaded(peer, message, now=now)
            case Draining():
                worker.draining = True
                self._scheduler.worker_draining(peer, now=now)
            case WorkerGoodbye():
                for entry in self._held_by(peer):
                    self._life.hand_back(entry, now=now)
                self._drop(peer, now, gone=True)
            case _:
                self._life.send(peer, Refused(f"a worker does not send {type(message).__name__}"))

    def _attempt_ended(
        self,
        peer: PeerId,
        worker: WorkerSession,
        message: AttemptSucceeded | AttemptFailed | AttemptCrashed | AttemptReturned,
        now: float,
    ) -> None:
        task_id, fence = message.task_id, message.fence
        self._life.leave_limbo(task_id, fence.attempt, now=now)
        # Stale or not, the worker may stop repeating itself.
        self._life.send(peer, AttemptRecorded(task_id=task_id, fence=fence))
        entry = self._life.current(task_id, fence, worker.hello.name)
        if entry is None:
            return
        if entry.session != peer:
            self._life.claim(entry, peer, now=now)
        match message:
            case AttemptSucceeded(outputs=outputs, ran=ran):
                self._life.succeed(entry, outputs, ran=ran, now=now)
            case AttemptFailed(error=error):
                self._life.fail(entry, error, now=now)
            case AttemptCrashed(timed_out=True, detail=detail):
                error = TaskError(code="timed_out", message=detail, retryable=True)
                self._life.fail(entry, error, now=now)
            case AttemptCrashed(alone=alone, detail=detail):
                self._life.crash(entry, alone=alone, detail=detail, now=now)
            case AttemptReturned():
                self._life.hand_back(entry, now=now)
            case _:
                assert_never(message)

    def _current(
        self, peer: PeerId, worker: WorkerSession, task_id: TaskId, fence: Fence, now: float
    ) -> TaskEntry | None:
        """Return the task the worker speaks of; tell it to stop if it has lost the right to."""
        entry = self._life.current(task_id, fence, worker.hello.name)
        if entry is None:
            self._life.send(peer, Abandon(task_id=task_id, fence=fence, grace=0.0))
        elif entry.session != peer:
            self._life.claim(entry, peer, now=now)
        return entry

    def _claims(
        self,
        peer: PeerId,
        name: str,
        running: Sequence[tuple[TaskId, Fence]],
        now: float,
    ) -> None:
        for task_id, fence in running:
            if self._life.holds(task_id, fence, name):
                entry = self._tasks.get(task_id)
                assert entry is not None
                self._life.claim(entry, peer, now=now)
            else:
                self._life.send(peer, Abandon(task_id=task_id, fence=fence, grace=0.0))

    # ---- peers come and go ---------------------------------------------------------------------

    def _refuses(self, peer: PeerId, oldest: int, newest: int) -> bool:
        objection = version_objection(
            oldest, newest, ours=PROTOCOL_VERSION, our_oldest=OLDEST_PROTOCOL_VERSION
        )
        if objection:
            self._life.send(peer, Refused(objection))
        return bool(objection)

    def _heard(self, peer: PeerId, now: float) -> None:
        self._life.deadlines.set(("peer", peer, 0), now + self._timers.lease)

    def _drop(self, peer: PeerId, now: float, *, gone: bool) -> None:
        """Forget a connection; ``gone``: for certain, so its unfinished business ends too."""
        self._life.deadlines.discard(("peer", peer, 0))
        if self._sessions.workers.pop(peer, None) is not None:
            self._life.settle_limbo(peer, (), now=now)
            for entry in self._held_by(peer):
                if entry.delivered:
                    # The worker may come back and claim it; until then its lease runs.
                    self._scheduler.released(peer, entry.id, ran=None, now=now)
                    entry.session = None
                else:
                    self._life.lose(entry, now=now)
            self._scheduler.worker_left(peer, now=now)
        if self._sessions.clients.pop(peer, None) is not None:
            for entry in [entry for entry in self._tasks if peer in entry.watchers]:
                entry.watchers.remove(peer)
                leaves = gone and entry.request.cancel_on_disconnect and not entry.watchers
                if leaves and not entry.status.state.is_final:
                    self._life.cancel(entry, now=now)

    def _held_by(self, peer: PeerId) -> list[TaskEntry]:
        return [entry for entry in self._tasks if entry.session == peer]

    def _checked(self, request: TaskRequest) -> CheckedTask | None:
        try:
            return self._admission.catalog.check(request)
        except InvalidTaskError:
            return None
