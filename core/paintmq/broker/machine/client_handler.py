"""What the broker does for each message from a client."""

from typing import assert_never, cast, get_args

from attrs import define, evolve

from paintmq.broker.accounting.happening import Note
from paintmq.broker.machine.admission import Admission
from paintmq.broker.machine.control import ControlRequests, paused_text
from paintmq.broker.machine.credentials import NO_KEYS, Credentials
from paintmq.broker.machine.lifecycle import Lifecycle
from paintmq.broker.machine.membership import Membership
from paintmq.broker.machine.retention import finished_message
from paintmq.broker.machine.sessions import ClientSession, spoken_to
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Timers
from paintmq.task import PeerId, TaskId, TaskRequest, TaskState
from paintmq.task_status import TaskStatus
from paintmq.wire.messages import (
    Accepted,
    Ask,
    BrokerHeartbeat,
    Cancel,
    CancelAnswered,
    ClientGoodbye,
    ClientHello,
    FromClient,
    Heartbeat,
    Query,
    Refused,
    Rejected,
    ResultReceived,
    Submit,
    ToBroker,
    UnknownTask,
    Welcome,
)

_UNDERSTOOD = frozenset({*get_args(FromClient), Heartbeat})


@define
class ClientHandler:
    """Handles messages from clients: submissions, queries, cancellations and control requests."""

    _incarnation: int
    _membership: Membership
    _tasks: TaskTable
    _life: Lifecycle
    _scheduler: Scheduler
    _admission: Admission
    _control: ControlRequests
    _timers: Timers

    def hello(
        self, peer: PeerId, hello: ClientHello, now: float, credentials: Credentials = NO_KEYS
    ) -> None:
        if self._membership.refuses(peer, hello):
            return
        self._membership.sessions.clients[peer] = ClientSession(peer, hello, credentials)
        self._membership.heard(peer, now)
        self._life.step.send(
            peer,
            Welcome(
                incarnation=self._incarnation,
                durable_sequence=0,
                heartbeat=self._timers.heartbeat,
                newest=spoken_to(hello),
            ),
        )

    def receive(
        self,
        peer: PeerId,
        said: ToBroker,
        now: float,
        credentials: Credentials = NO_KEYS,
    ) -> None:
        self._membership.heard(peer, now)
        if type(said) not in _UNDERSTOOD:
            reason = f"a client does not send {type(said).__name__}"
            self._life.step.send(peer, Refused(reason))
            return
        message = cast("FromClient | Heartbeat", said)
        match message:
            case Submit(request):  # first, as most are
                self._submit(peer, request, now, credentials)
            case ClientHello():
                self.hello(peer, message, now, credentials)
            case Heartbeat():
                self._life.step.send(peer, BrokerHeartbeat())
            case Cancel(task_id):
                answer = self._cancel(task_id, now, credentials)
                self._life.step.send(peer, CancelAnswered(task_id, answer))
            case Query(task_ids):
                for task_id in task_ids:
                    self._query(peer, task_id, now, credentials)
            case ResultReceived(task_id):
                entry = self._tasks.seen_by(credentials, task_id)
                if entry is not None and credentials.owns(entry.owner):
                    self._membership.confirm(entry, peer, now)
            case Ask():
                self._life.step.send(
                    peer, self._control.answer(message, now=now, credentials=credentials)
                )
            case ClientGoodbye():
                self._membership.drop(peer, now, gone=True)
            case _:
                assert_never(message)

    def _submit(
        self, peer: PeerId, request: TaskRequest, now: float, credentials: Credentials
    ) -> None:
        known = self._tasks.get(request.id)
        if known is not None and not known.owner and credentials.key:
            self._adopt(known, request, credentials)
        is_own = known is not None and credentials.owns(known.owner)
        if credentials is not NO_KEYS:
            request = credentials.in_tenant(request)
            refusal = None if is_own else self._admission.exceeds_key(request, credentials)
            if refusal is not None:
                self._reject(peer, refusal)
                return
        if known is not None:
            self._control.duplicates += 1
            if not is_own or not _is_same(request, known.request):
                self._reject(
                    peer,
                    Rejected(
                        task_id=request.id,
                        code="conflict",
                        reason=f"the id {request.id} is taken by a task with different contents; "
                        f"use another id or idempotency key",
                    ),
                )
                return
            self._query(peer, request.id, now, credentials)
            return
        self._life.retention.make_room()
        decision = self._admission.decide(request, now=now, credentials=credentials)
        if isinstance(decision, Rejected):
            self._reject(peer, decision, queue=request.queue)
            return
        queue, checked = decision
        status = TaskStatus(
            state=TaskState.QUEUED,
            queue=queue,
            accepted_at=now,
            rank=now - request.priority * self._timers.ageing,
            owner=credentials.key,
            allowed=credentials.queues,
        )
        entry = TaskEntry(request, status, checked)
        self._tasks.watch(entry, peer)
        self._life.accept(entry, now=now)
        self._tell_accepted(peer, entry, now)

    def _adopt(self, known: TaskEntry, request: TaskRequest, credentials: Credentials) -> None:
        """Give a task that is older than the broker's keys to the client that submitted it.

        That is whoever knows its id and all of its contents, with the digests of its images.
        """
        if _is_same(request, known.request):
            self._life.adopt(known, credentials.key, credentials.queues)

    def _tell_accepted(self, peer: PeerId, entry: TaskEntry, now: float) -> None:
        state = entry.status.state
        reason = ""
        if state is TaskState.QUEUED:
            queue = entry.status.queue
            is_paused = queue in self._life.paused
            known = paused_text(queue) if is_paused else ""
            reason = known or self._scheduler.waiting_for(entry.id, now=now)
        self._life.step.send(
            peer,
            Accepted(
                task_id=entry.id,
                queue=entry.status.queue,
                durable_sequence=0,
                state=state,
                waiting_for=reason,
            ),
        )

    def _query(self, peer: PeerId, task_id: TaskId, now: float, credentials: Credentials) -> None:
        entry = self._tasks.seen_by(credentials, task_id)
        if entry is None:
            self._life.step.send(peer, UnknownTask(task_id))
            return
        self._tasks.watch(entry, peer)
        if entry.status.state.is_final:
            self._life.step.send(peer, finished_message(entry))
        else:
            self._tell_accepted(peer, entry, now)

    def _cancel(self, task_id: TaskId, now: float, credentials: Credentials) -> str:
        entry = self._tasks.seen_by(credentials, task_id)
        if entry is None:
            return "unknown"
        if not entry.status.state.is_final:
            self._life.cancel(entry, now=now)
        return "cancelled" if entry.status.state is TaskState.CANCELLED else "too_late"

    def _reject(self, peer: PeerId, rejected: Rejected, *, queue: str = "") -> None:
        self._control.rejected += 1
        if queue in self._tasks.counts:
            self._tasks.counts[queue].rejected += 1
        else:
            queue = ""
        self._life.step.observe(Note("rejected", queue=queue, detail=rejected.code))
        self._life.step.send(peer, rejected)


def _is_same(one: TaskRequest, other: TaskRequest) -> bool:
    """Return whether two submissions ask for the same; which queue holds it, and who
    traces it, does not matter.
    """
    return evolve(one, queue="", trace="") == evolve(other, queue="", trace="")
