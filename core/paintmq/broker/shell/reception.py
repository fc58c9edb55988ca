"""What becomes of each message that arrives: whose it is, whether it is in order, who answers it.

A message passes, in this order: its connection (a session is opened for it, or refused), its link
(bytes become messages, payloads are put together), its port (workers and clients say different
things), and then the shell's own subjects or the machine.
"""

import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from paintmq.broker.connections.endpoints import RouterEndpoint
from paintmq.broker.connections.ingress import (
    objection,
    too_much_arrives,
    without_payloads,
    without_superfluous_starts,
)
from paintmq.broker.connections.listeners import Listeners
from paintmq.broker.connections.peers import Endpoint, Peer, PeerTable, UnreachableError
from paintmq.broker.connections.reassembly import ReassemblyBudget
from paintmq.broker.connections.sender import Sender
from paintmq.broker.machine import BrokerMachine
from paintmq.broker.shell.audit import note_order
from paintmq.broker.shell.containment import Containment
from paintmq.broker.shell.intake import AHEAD, LIGHT, SLICE
from paintmq.broker.shell.machine_driver import MachineDriver
from paintmq.broker.shell.observed import Observed
from paintmq.broker.shell.server_control import ORDERS, Subject, answer
from paintmq.config import Limits
from paintmq.errors import VersionMismatchError, WireError
from paintmq.shared_memory.broker_arenas import Arenas
from paintmq.task import Buffer, PeerId
from paintmq.wire.link import Delivery, Link, LinkLimits
from paintmq.wire.messages import (
    SHARING_VERSION,
    Answer,
    Ask,
    AttemptFailed,
    AttemptProgressed,
    AttemptStarted,
    AttemptSucceeded,
    Cancel,
    ClientGoodbye,
    ClientHello,
    FromBroker,
    Heartbeat,
    Message,
    ModelLogged,
    NodeMeasured,
    Query,
    Refused,
    Rejected,
    ResultReceived,
    Submit,
    ToBroker,
    WhoAreYou,
    WorkerGoodbye,
    WorkerHello,
)
from paintmq.wire.transfer import Payload

_USUAL: Mapping[bool, frozenset[type]] = {
    False: frozenset({Cancel, Query, ResultReceived, Submit}),
    True: frozenset({AttemptFailed, AttemptProgressed, AttemptStarted, AttemptSucceeded}),
}
"""What goes straight to the machine, by whether it came to the port of a queue: nearly all."""
_WITHOUT_ANSWERS = (ClientGoodbye, Heartbeat, ResultReceived, WorkerGoodbye)
"""What a peer may say however much waits for it; see ``Peer.is_behind``."""


class Reception:
    """The way in, and the sessions of those who come by it."""

    def __init__(
        self,
        *,
        machine: BrokerMachine,
        driver: MachineDriver,
        sender: Sender,
        listeners: Listeners,
        peers: PeerTable,
        reassembly: ReassemblyBudget,
        containment: Containment,
        subjects: Mapping[str, Subject],
        limits: Limits,
        arenas: Arenas,
        observed: Observed,
    ) -> None:
        self._machine = machine
        self._observed = observed
        self._arenas = arenas
        self._driver = driver
        self._sender = sender
        self._listeners = listeners
        self._peers = peers
        self._reassembly = reassembly
        self._containment = containment
        self._subjects = subjects
        self._limits = limits
        self._link_limits = LinkLimits(
            max_message_bytes=max(limits.max_task_bytes, limits.max_payload_bytes)
        )
        self._parked: dict[PeerId, tuple[Peer, deque[Delivery]]] = {}
        """What has arrived of clients and is not handled yet, in the order of their turns."""
        self._waiting = 0
        """How many messages that is."""

    @property
    def any_parked(self) -> bool:
        """Whether messages of clients have arrived that ``take_in_slice`` has yet to handle."""
        return bool(self._parked)

    @property
    def reads_ahead(self) -> bool:
        """Whether more may be read before what waits is handled."""
        return self._waiting < AHEAD

    @property
    def next_light(self) -> PeerId | None:
        """The next client that has said little; None if there is none."""
        light = (peer for peer, (_, line) in self._parked.items() if len(line) <= LIGHT)
        return next(light, None)

    def take_in_slice(self, now: float) -> None:
        """Handle some messages of the client whose turn it is."""
        chosen = self.next_light or next(iter(self._parked))
        peer, deliveries = self._parked.pop(chosen)
        part = [deliveries.popleft() for _ in range(min(SLICE, len(deliveries)))]
        self._waiting -= len(part)
        if deliveries:
            self._parked[peer.id] = peer, deliveries
        self._take_in(peer, part, now)
        self._driver.finish(now=now)

    def receive(
        self, endpoint: RouterEndpoint, peer_id: PeerId, frames: list[Buffer], now: float
    ) -> None:
        """Handle a multipart message; whatever it does to us, it ends that session at most."""
        try:
            self._multipart_received(endpoint, peer_id, frames, now)
        except BaseException as error:  # noqa: BLE001 -- the containment raises what is not for it
            self._containment.caught(error, lambda: ("frames", endpoint.name, peer_id, frames[:1]))
            if (peer := self._peers.get(peer_id)) is not None:
                self.drop_session(peer, now)

    def _multipart_received(
        self, endpoint: RouterEndpoint, peer_id: PeerId, frames: list[Buffer], now: float
    ) -> None:
        if endpoint.is_flooded:
            error = WireError("a message of too many frames")
            if self.protocol_broken(endpoint, peer_id, error, now):
                self._listeners.hang_up(endpoint, now=now)
            return
        peer = self._peers.get(peer_id)
        if peer is None:
            if refusal := self._peers.objection(endpoint, peer_id):
                self.reply_without_session(endpoint, peer_id, Refused(refusal))
                return
            link = Link(self._link_limits, work_apart=endpoint.keeps_work_apart)
            peer = self._peers.open(peer_id, endpoint, link, now=now)
        elif peer.endpoint is not endpoint:
            self.reply_without_session(endpoint, peer_id, Refused("another connection has this id"))
            return
        self._peers.heard(peer, now=now)
        try:
            deliveries = peer.link.receive(frames)
        except WireError as error:
            self._listeners.charge_useless(len(frames))
            self.protocol_broken(endpoint, peer_id, error, now)
            return
        if (late := self._reassembly.heard(peer.id, peer.link, now=now)) is not None:
            held, most = self._reassembly.bytes, self._limits.max_bytes_arriving
            self._sender.send_now(peer, too_much_arrives(late, held=held, most=most))
        if endpoint.is_queue:
            self._take_in(peer, without_superfluous_starts(deliveries), now)
        elif deliveries:
            self._waiting += len(deliveries)
            self._parked.setdefault(peer.id, (peer, deque()))[1].extend(deliveries)

    def _take_in(self, peer: Peer, deliveries: Sequence[Delivery], now: float) -> None:
        """Handle messages of one peer, for as long as its session lasts."""
        usual = _USUAL[peer.endpoint.is_queue]
        credentials, is_behind = None, peer.is_behind
        for delivery in deliveries:
            if self._peers.get(peer.id) is not peer:
                return  # its session has ended; what mattered is repeated
            try:
                message = delivery.message
                if type(message) not in usual or delivery.refusal or is_behind:
                    self._delivered(peer, delivery, now)
                    continue
                if credentials is None:
                    credentials = peer.endpoint.credentials_of(peer.id)
                if not self._driver.receive(
                    peer.id,
                    cast("ToBroker", message),
                    now=now,
                    payloads=delivery.received,
                    credentials=credentials,
                ):
                    self._answer_failed(peer, cast("ToBroker", message))
            except BaseException as error:  # noqa: BLE001 -- as in ``receive``
                self._containment.caught(error, partial(_who_said_what, peer, delivery))
                self.drop_session(peer, now)

    def _delivered(self, peer: Peer, delivery: Delivery, now: float) -> None:
        message = without_payloads(delivery) if delivery.refusal else delivery.message
        if isinstance(message, Rejected):
            self._sender.send_now(peer, message)
        else:
            self._message_received(peer, message, delivery.received, now)

    def _message_received(
        self, peer: Peer, message: Message, payloads: Sequence[Payload], now: float
    ) -> None:
        refusal = objection(message, port=peer.endpoint.name, is_queue=peer.endpoint.is_queue)
        if refusal:
            self._sender.send_now(peer, Refused(refusal))
            return
        message = cast("ToBroker", message)  # or there would have been an objection
        if isinstance(message, ClientHello | WorkerHello):
            self._share_memory(peer, message)
        if peer.is_behind and not isinstance(message, _WITHOUT_ANSWERS):
            return
        if isinstance(message, Ask):
            self._ask(peer, message, now)
        elif isinstance(message, ModelLogged | NodeMeasured):
            self._hear_observed(peer, message, now)
        else:
            self._give_to_machine(peer, message, payloads, now)

    def _share_memory(self, peer: Peer, hello: ClientHello | WorkerHello) -> None:
        """Offer memory in common to a peer that has introduced itself, if it knows of such."""
        peer.stop_sharing()
        if hello.newest >= SHARING_VERSION:
            is_client = isinstance(hello, ClientHello)
            peer.share(self._arenas.client_end() if is_client else self._arenas.worker_end())

    def stop_sharing(self) -> None:
        """Let go of all memory that was shared: its files are closed now, not some time later."""
        for peer in self._peers:
            peer.stop_sharing()
        self._arenas.close_all()

    def _ask(self, peer: Peer, ask: Ask, now: float) -> None:
        """Answer a question, unless the peer has used up its share of time for long answers."""
        if not peer.may_ask(now=now):
            reason = "your questions take too much of the broker's time: ask again in a while"
            self._sender.send_now(peer, Answer(request_id=ask.request_id, error=reason))
            return
        began = time.thread_time()
        credentials = peer.endpoint.credentials_of(peer.id)
        if ask.subject in ORDERS:
            note_order(ask, peer.id, credentials)
        answered = answer(
            ask,
            self._subjects,
            is_admin=credentials.is_admin,
            knows=lambda task_id: self._machine.knows(task_id, credentials),
            credentials=credentials,
        )
        if answered is not None:
            self._sender.send_now(peer, answered)
        else:
            self._give_to_machine(peer, ask, (), now)
        peer.charge(time.thread_time() - began)

    def _hear_observed(self, peer: Peer, message: ModelLogged | NodeMeasured, now: float) -> None:
        """Take in what a worker tells beside its work, unless that takes too much time."""
        if not peer.may_ask(now=now):
            self._observed.leave_out(peer.id, message, now=now)
            return
        began = time.thread_time()
        self._observed.hear(peer.id, message, now=now)
        peer.charge(time.thread_time() - began)

    def _give_to_machine(
        self, peer: Peer, message: ToBroker, payloads: Sequence[Payload], now: float
    ) -> None:
        credentials = peer.endpoint.credentials_of(peer.id)
        if not self._driver.receive(
            peer.id, message, now=now, payloads=payloads, credentials=credentials
        ):
            self._answer_failed(peer, message)
        if isinstance(message, ClientGoodbye | WorkerGoodbye):
            self._close_session(peer)

    def _answer_failed(self, peer: Peer, message: ToBroker) -> None:
        """Answer a message on which the machine failed, or its sender would repeat it for ever."""
        reason = "the broker failed on this message: its log says how"
        match message:
            case Submit(task) if self._machine.stored_task(task.id) is None:
                rejected = Rejected(task_id=task.id, code="broker_error", reason=reason)
                self._sender.send_now(peer, rejected)
            case Ask(request_id=request_id):
                self._sender.send_now(peer, Answer(request_id=request_id, error=reason))
            case _:
                pass  # a task that it named has ended: repeated, it is answered by that

    def protocol_broken(
        self, endpoint: Endpoint, peer_id: PeerId, error: WireError, now: float
    ) -> bool:
        """Drop the session of a peer that broke the protocol, and tell it so.

        Returns:
            Whether its connection is still there.
        """
        self._listeners.count_wire_error(endpoint.name, peer_id, error)
        peer = self._peers.get(peer_id)
        if peer is not None and peer.endpoint is endpoint:
            self.drop_session(peer, now)
        answer = Refused(str(error)) if isinstance(error, VersionMismatchError) else WhoAreYou()
        return self.reply_without_session(endpoint, peer_id, answer)

    def drop_session(self, peer: Peer, now: float) -> None:
        """End a session. A peer that is still there will be asked to introduce itself again."""
        self._close_session(peer)
        self._driver.peer_lost(peer.id, now=now)

    def _close_session(self, peer: Peer) -> None:
        self._reassembly.drop_peer(peer.id)
        peer.stop_sharing()
        self._peers.close(peer)

    def reply_without_session(
        self, endpoint: Endpoint, peer_id: PeerId, message: FromBroker
    ) -> bool:
        """Reply to a peer without a session; return whether its connection is still there."""
        link = Link(self._link_limits)
        link.send(message)
        is_there = False
        with contextlib.suppress(UnreachableError):
            for frames in link.outgoing():
                endpoint.send(peer_id, frames)
            is_there = True
        if self._peers.get(peer_id) is None:
            endpoint.forget_peer(peer_id)
        return is_there


def _who_said_what(peer: Peer, delivery: Delivery) -> object:
    return peer.id, delivery.message
