"""What the broker does for each message from a worker."""

from collections.abc import Sequence
from typing import Any, assert_never, cast, get_args

from attrs import define, evolve

from paintmq.broker.accounting.happening import Note, Noted
from paintmq.broker.machine.credentials import NO_KEYS, Credentials
from paintmq.broker.machine.leases import Leases
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.membership import Membership
from paintmq.broker.machine.sessions import MAX_TROUBLE, WorkerSession, spoken_to
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Limits, Timers
from paintmq.task import Fence, PeerId, TaskError, TaskId
from paintmq.wire.messages import (
    OBSERVING_VERSION,
    Abandon,
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptRecorded,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    BrokerHeartbeat,
    Draining,
    FromWorker,
    Heartbeat,
    ModelLoaded,
    ModelLogged,
    ModelUnloaded,
    NodeMeasured,
    Refused,
    ToBroker,
    WorkerGoodbye,
    WorkerHello,
    WorkerWelcome,
)

_UNDERSTOOD = frozenset(get_args(FromWorker))


@define
class WorkerHandler:
    """Handles messages from workers: introductions, claims, progress and endings of attempts."""

    _incarnation: int
    _membership: Membership
    _tasks: TaskTable
    _life: Lifecycle
    _leases: Leases
    _scheduler: Scheduler
    _timers: Timers
    _limits: Limits

    def hello(
        self,
        peer: PeerId,
        hello: WorkerHello,
        now: float,
        credentials: Credentials = NO_KEYS,
    ) -> None:
        """Admit a worker."""
        if self._membership.refuses(peer, hello):
            return
        if self._is_not_admitted(peer, hello, credentials):
            return
        known = self._membership.sessions.workers.get(peer)
        self._membership.heard(peer, now)
        self._life.step.send(
            peer,
            WorkerWelcome(
                incarnation=self._incarnation,
                heartbeat=self._timers.heartbeat,
                lease=self._timers.lease,
                observes=hello.newest >= OBSERVING_VERSION,
                newest=spoken_to(hello),
            ),
        )
        worker = WorkerSession(peer, hello, credentials)
        if known is not None and _says_the_same(known, worker):
            worker = known
        else:
            self._join(worker, rejoins=known is not None, now=now)
        self._claim(worker, hello.running, now)
        # The worker was restarted: whatever it does not claim now, it no longer has.
        replaced = self._membership.sessions.workers.get(hello.replaces)
        if replaced is worker or (replaced is not None and not _is_same(replaced, worker)):
            replaced = None
        gone = {None} if replaced is None else {None, replaced.peer}
        for entry in self._tasks.leased():
            is_its = self._leases.may_claim(entry.id, entry.status.fence, worker)
            if is_its and entry.session in gone:
                self._life.lose(entry, now=now)
        if replaced is not None:
            self._membership.drop(replaced.peer, now, gone=True)

    def _is_not_admitted(self, peer: PeerId, hello: WorkerHello, credentials: Credentials) -> bool:
        """Refuse a worker whose key does not allow its queue, or one kind of worker too many."""
        most, queues = self._limits.max_worker_kinds, credentials.queues
        if hello.queue in self._life.removed:
            reason = f"queue {hello.queue} was removed"
        elif queues is not None and hello.queue not in queues:
            reason = f"your key allows {' and '.join(queues)}, not queue {hello.queue}"
        elif self._scheduler.knows_kind(hello, queues) or self._scheduler.kinds < most:
            return False
        else:
            reason = (
                f"the broker knows {most} kinds of workers and takes no further kind "
                f"(limits.max_worker_kinds)"
            )
        self._life.step.send(peer, Refused(reason))
        return True

    def _join(self, worker: WorkerSession, *, rejoins: bool, now: float) -> None:
        peer, hello = worker.peer, worker.hello
        held = self._membership.held_by(peer) if rejoins else []
        if rejoins:
            self._scheduler.worker_left(peer, now=now)
        self._membership.sessions.workers[peer] = worker
        self._scheduler.worker_joined(peer, hello, now=now, queues=worker.credentials.queues)
        if not rejoins:
            self._note(worker, "joined")
        for entry in held:
            entry.session = None
            self._leases.claim(entry, peer, now=now)
        if self._membership.sessions.is_cordoned(worker):
            self._scheduler.worker_draining(peer, now=now)

    def rejoin(self, worker: WorkerSession, now: float) -> None:
        """Give a worker tasks again that was given none; what it holds, it keeps."""
        self._join(worker, rejoins=True, now=now)

    def receive(
        self,
        worker: WorkerSession,
        said: ToBroker,
        now: float,
        credentials: Credentials = NO_KEYS,
    ) -> None:
        peer = worker.peer
        self._membership.heard(peer, now)
        if type(said) not in _UNDERSTOOD:
            reason = f"a worker does not send {type(said).__name__}"
            self._life.step.send(peer, Refused(reason))
            return
        message = cast("FromWorker", said)
        match message:
            case WorkerHello():
                self.hello(peer, message, now, credentials)
            case Heartbeat(running=running):
                self._life.step.send(peer, BrokerHeartbeat())
                self._claim(worker, running, now)
                self._life.zombies.settle(peer, [task_id for task_id, _ in running], now=now)
            case AttemptStarted(task_id=task_id, fence=fence, loading=loading):
                if (entry := self._current(peer, task_id, fence)) is not None:
                    self._leases.start(entry, loading=loading, now=now)
            case AttemptProgressed(
                task_id=task_id, fence=fence, step=step, total=total, preview=preview
            ):
                if (entry := self._current(peer, task_id, fence)) is not None:
                    self._leases.progress(entry, step, total, preview, now)
            case AttemptSucceeded() | AttemptFailed() | AttemptCrashed() | AttemptReturned():
                self._attempt_ended(peer, worker, message, now)
            case ModelLoaded(model=model) | ModelUnloaded(model=model) if (
                model not in worker.hello.models
            ):
                self._life.step.send(peer, Refused(f"this worker did not announce {model[:99]!r}"))
            case ModelLoaded(model=model):
                self._scheduler.model_loaded(peer, message, now=now)
                self._note(worker, "loaded", model=model, seconds=message.seconds)
            case ModelUnloaded(model=model):
                self._scheduler.model_unloaded(peer, message, now=now)
                what: Noted = "load failed" if message.error else "unloaded"
                self._note(worker, what, model=model, detail=message.error)
            case Draining(reason=reason):
                worker.draining, worker.trouble = True, reason[:MAX_TROUBLE]
                self._scheduler.worker_draining(peer, worker.trouble, now=now)
                self._note(worker, "draining", detail=worker.trouble)
            case WorkerGoodbye():
                for entry in self._membership.held_by(peer):
                    self._life.hand_back(entry, now=now)
                self._membership.drop(peer, now, gone=True)
            case ModelLogged() | NodeMeasured():
                pass  # nothing about a task depends on it: see broker/shell/observed.py
            case _:
                assert_never(message)

    def _note(self, worker: WorkerSession, what: Noted, **more: Any) -> None:
        """Tell whoever counts what became of a worker."""
        hello = worker.hello
        self._life.step.observe(Note(what, queue=hello.queue, worker=hello.name, **more))

    def heard_of_stranger(self, message: ToBroker) -> None:
        """Count an answer from a worker without a session, if its attempt is certainly over."""
        match message:
            case (
                AttemptStarted(task_id=task_id, fence=fence)
                | AttemptProgressed(task_id=task_id, fence=fence)
                | AttemptSucceeded(task_id=task_id, fence=fence)
                | AttemptFailed(task_id=task_id, fence=fence)
                | AttemptCrashed(task_id=task_id, fence=fence)
                | AttemptReturned(task_id=task_id, fence=fence)
            ):
                entry = self._tasks.get(task_id)
                status = entry.status if entry is not None else None
                if status is None or not status.state.is_leased or status.fence != fence:
                    self._leases.stale_answers += 1
            case _:
                pass

    def _attempt_ended(
        self,
        peer: PeerId,
        worker: WorkerSession,
        message: AttemptSucceeded | AttemptFailed | AttemptCrashed | AttemptReturned,
        now: float,
    ) -> None:
        task_id, fence = message.task_id, message.fence
        self._life.zombies.stopped(peer, task_id, fence.attempt, now=now)
        # Stale or not, the worker need not repeat its answer any more.
        self._life.step.send(peer, AttemptRecorded(task_id=task_id, fence=fence))
        entry = self._leases.current(task_id, fence, peer)
        if entry is None:
            return
        match message:
            case AttemptSucceeded(outputs=outputs, ran=ran):
                self._life.succeed(entry, outputs, ran=ran, now=now)
            case AttemptFailed(error=error):
                self._life.fail(entry, error, now=now)
            case AttemptCrashed(timed_out=True, alone=True, detail=detail):
                error = TaskError(code="timed_out", message=detail, retryable=True)
                self._life.fail(entry, error, now=now)
            case AttemptCrashed(alone=alone, detail=detail):
                self._life.crash(entry, alone=alone, detail=detail, now=now)
            case AttemptReturned():
                self._life.hand_back(entry, trouble=worker.trouble, now=now)
            case _:
                assert_never(message)

    def _current(self, peer: PeerId, task_id: TaskId, fence: Fence) -> TaskEntry | None:
        """Return the task of a worker's message; tell it to stop if its fence is stale."""
        entry = self._leases.current(task_id, fence, peer)
        if entry is None:
            self._life.step.send(peer, Abandon(task_id=task_id, fence=fence, grace=0.0))
        return entry

    def _claim(
        self, worker: WorkerSession, running: Sequence[tuple[TaskId, Fence]], now: float
    ) -> None:
        """Renew the leases of the attempts that a worker names; it must stop any other."""
        for task_id, fence in running:
            if self._leases.may_claim(task_id, fence, worker):
                entry = self._tasks.get(task_id)
                assert entry is not None
                self._leases.claim(entry, worker.peer, now=now)
            else:
                self._life.step.send(worker.peer, Abandon(task_id=task_id, fence=fence, grace=0.0))


def _is_same(one: WorkerSession, other: WorkerSession) -> bool:
    """Return whether these are sessions of the same worker."""
    return (one.hello.name, one.credentials.key) == (other.hello.name, other.credentials.key)


def _says_the_same(one: WorkerSession, other: WorkerSession) -> bool:
    """Return whether two introductions differ in nothing but the attempts they claim."""
    return one.credentials == other.credentials and (
        evolve(one.hello, running=()) == evolve(other.hello, running=())
    )
