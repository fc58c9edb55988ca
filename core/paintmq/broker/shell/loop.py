"""The broker's loop: sockets, clock and journal around the machine. One thread, no locks.

Each turn: wait; collect what the store has done; read messages; let time pass; send.

The order matters. Collecting first frees memory and learns of a full disk before more is accepted.
Time passes only after reading, so that a heartbeat which already waits in a socket renews its lease
before the machine looks whether that lease has run out: a broker that was busy, or stopped, must
not blame its workers for it. Sending comes last, when every record of the turn has been handed to
the journal: with a store in memory they count as durable at once, and the answers leave in the same
turn.
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol, cast

import zmq

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
from paintmq.broker.recording.observing import Observer, Recorder
from paintmq.broker.records import Recovered
from paintmq.broker.shell.clock import BrokerClock
from paintmq.broker.shell.containment import Containment
from paintmq.broker.shell.disk_watch import DiskWatch
from paintmq.broker.shell.intake import BUSY_RECORDS, SLICE, Intake
from paintmq.broker.shell.loop_latency import LoopLatency
from paintmq.broker.shell.machine_driver import MachineDriver
from paintmq.broker.shell.server_control import Subject, answer
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.payload_cache import PayloadCache
from paintmq.config import Limits, RouterConfig, Timers
from paintmq.errors import VersionMismatchError, WireError
from paintmq.routing import Router
from paintmq.statistics import ShellStatistics
from paintmq.task import Buffer, PeerId
from paintmq.transport.wakeup import Wakeup
from paintmq.wire.link import Delivery, Link, LinkLimits
from paintmq.wire.messages import (
    Answer,
    Ask,
    BrokerHeartbeat,
    ClientGoodbye,
    FromBroker,
    Heartbeat,
    Message,
    Refused,
    Rejected,
    ResultReceived,
    Submit,
    ToBroker,
    WhoAreYou,
    WorkerGoodbye,
)

logger = logging.getLogger(__name__)

_WITHOUT_ANSWERS = (ClientGoodbye, Heartbeat, ResultReceived, WorkerGoodbye)
"""What a peer may say however much waits for it; see ``Peer.is_behind``."""

BUDGET = 200
"""Multipart messages read from one socket before the others have their turn."""
TURN_SECONDS = 0.004
"""Spent on one socket before the others have their turn: some messages take long to handle."""
READ_SECONDS = 0.010
"""Spent on reading in one turn, shared equally among the sockets that have messages."""
RETRY_SECONDS = 0.02
"""Until sending is tried again to a peer that reads too slowly."""
LONGEST_WAIT = 0.2
"""The clock must be read at least this often: a longer gap counts as a pause of the process."""


def _who_said_what(peer: Peer, delivery: Delivery) -> object:
    return peer.id, delivery.message


class Duty(Protocol):
    """One of the things that a turn does, whatever arrives."""

    def __call__(self, *, now: float) -> None: ...


class BrokerLoop:
    """Everything that runs in the broker's thread."""

    def __init__(
        self,
        *,
        machine: BrokerMachine,
        journal: Journal,
        clock: BrokerClock,
        listeners: Listeners,
        subjects: Mapping[str, Subject],
        wakeup: Wakeup,
        timers: Timers,
        limits: Limits,
        statistics: ShellStatistics,
        recorder: Recorder | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._machine = machine
        self._journal = journal
        self._clock = clock
        self._listeners = listeners
        self._subjects = subjects
        self._wakeup = wakeup
        self._link_limits = LinkLimits(
            max_message_bytes=max(limits.max_task_bytes, limits.max_payload_bytes)
        )
        self._payloads = PayloadCache(not journal.keeps_payloads)
        self._peers = PeerTable(
            limits.max_peers, limits.max_peers_per_key, 2 * timers.lease, timers.heartbeat
        )
        self._reassembly = ReassemblyBudget(limits.max_bytes_arriving, timers.lease)
        self._statistics = statistics
        self._containment = Containment(statistics)
        self._sender = Sender(journal, self._payloads, self._peers, self._containment.caught)
        self._driver = MachineDriver(
            machine,
            journal,
            self._payloads,
            self._sender,
            self._containment,
            recorder,
            list(observers),
        )
        self._limits = limits
        self._disk = DiskWatch(machine, journal, self._payloads, limits, recorder)
        self.turns = LoopLatency(time.perf_counter, time.thread_time)
        self._poller = zmq.Poller()
        self._poller.register(wakeup.fileno(), zmq.POLLIN)
        self._work_poller = zmq.Poller()
        """Without the clients' sockets, for as long as they are held back."""
        self._work_poller.register(wakeup.fileno(), zmq.POLLIN)
        for socket in listeners.sockets():
            self._poller.register(socket, zmq.POLLIN)
        for socket in listeners.sockets(clients=False):
            self._work_poller.register(socket, zmq.POLLIN)
        self._intake = Intake()
        self._parked: deque[tuple[Peer, Delivery]] = deque()
        """What has arrived of clients and is not handled yet: at most one multipart message."""

    @property
    def has_sent_everything(self) -> bool:
        """Whether everything the machine wanted to send has been handed to the sockets."""
        return self._sender.has_sent_everything

    @property
    def has_no_peers(self) -> bool:
        """Whether no client and no worker is connected."""
        return not self._peers

    def restore(self, recovered: Recovered) -> None:
        """Take over what the journal holds; call it once, before the first turn."""
        self._driver.restore(recovered, now=self._clock.now())

    def drain(self) -> None:
        """Accept and dispatch nothing more."""
        self._driver.drain(now=self._clock.now())

    def replace_router(self, router: Router, config: RouterConfig) -> None:
        """Use another router from now on; ``config`` is what it was made from."""
        self._driver.replace_router(router, config, now=self._clock.now())

    def run_once(self, *, max_wait: float = LONGEST_WAIT) -> None:
        """Wait for a message, a commit or the next deadline, and act on it.

        Raises:
            StoreError: the journal failed; nothing was sent that depends on a record not durable.
        """
        wait = self._wait_milliseconds(max_wait)
        self.turns.ends()
        poller = self._work_poller if self._listeners.any_held_back else self._poller
        ready = dict(poller.poll(wait))
        self.turns.begins()
        now = self._clock.now()
        if self._wakeup.fileno() in ready:
            self._wakeup.clear()
        self._collect(now)
        self._read(self._listeners.to_read(ready), now)
        self._contained(self._listeners.let_in, now)
        self._contained(self._let_time_pass, now)
        self._send(now)

    def _wait_milliseconds(self, max_wait: float) -> int:
        if self._sender.has_failures or self._sender.is_interrupted:
            return 0
        wait = min(max_wait, LONGEST_WAIT, self._listeners.wait(now=self._clock.now()))
        if self._peers.any_marked:
            wait = min(wait, RETRY_SECONDS)
        deadline = self._machine.next_deadline()
        if deadline is not None:
            wait = min(wait, deadline - self._clock.now())
        # Rounded up: waking a little early would spin until the deadline has come.
        return max(0, int(wait * 1000) + 1) if wait > 0 else 0

    # ---- in ------------------------------------------------------------------------------------

    def _collect(self, now: float) -> None:
        collected = self._journal.collect()
        for key, data in collected.payloads:
            self._sender.fetched(key, data)
        self._payloads.evict(self._journal.durable)
        self._disk.look(full=collected.disk_full, now=now)

    def _read(self, waiting: Sequence[RouterEndpoint], now: float) -> None:
        """Read workers first, then clients for as long as ``Intake`` says."""
        began = time.monotonic()
        queues = [endpoint for endpoint in waiting if endpoint.is_queue]
        for endpoint in queues:
            self._receive(endpoint, now, min(TURN_SECONDS, READ_SECONDS / len(queues)))
        self._driver.finish(now=now)
        is_working = not self._machine.is_idle()
        for endpoint in waiting:
            if not endpoint.is_queue:
                worked = time.monotonic() - began
                seconds = self._intake.seconds(worked=worked, is_working=is_working)
                self._read_clients(endpoint, now, seconds)

    def _receive(self, endpoint: RouterEndpoint, now: float, seconds: float) -> None:
        ends = time.monotonic() + seconds
        for _ in range(BUDGET):
            received = endpoint.receive()
            if received is None:
                if endpoint.has_more:
                    break
                return
            self._read_contained(endpoint, *received, now)
            if time.monotonic() > ends:
                break
        self._listeners.mark_unread(endpoint)

    def _read_clients(self, endpoint: RouterEndpoint, now: float, seconds: float) -> None:
        """Do the same for clients, slice by slice."""
        ends = time.monotonic() + seconds
        for _ in range(BUDGET):
            while self._parked:
                if not self._has_room():
                    self._listeners.hold_back(endpoint)
                    return
                self._take_in_slice(now)
                if time.monotonic() > ends:
                    self._listeners.mark_unread(endpoint)
                    return
            if not self._has_room():
                self._listeners.hold_back(endpoint)
                return
            received = endpoint.receive()
            if received is None:
                if endpoint.has_more:
                    break
                return
            self._read_contained(endpoint, *received, now)
        self._listeners.mark_unread(endpoint)

    def _take_in_slice(self, now: float) -> None:
        for _ in range(min(SLICE, len(self._parked))):
            peer, delivery = self._parked.popleft()
            if self._peers.get(peer.id) is not peer:
                continue  # its session has ended; what mattered is repeated
            try:
                self._delivered(peer, delivery, now)
            except BaseException as error:  # noqa: BLE001 -- as in ``_read_contained``
                self._containment.caught(error, partial(_who_said_what, peer, delivery))
                self._drop_session(peer, now)
        self._driver.finish(now=now)

    def _has_room(self) -> bool:
        """Return whether clients may be read, as far as unwritten records are concerned."""
        journal = self._journal
        if journal.sequence - journal.durable >= BUSY_RECORDS:
            self._collect(self._clock.now())
        return self._intake.is_open(
            unwritten=journal.sequence - journal.durable,
            durable=journal.durable,
            is_working=not self._machine.is_idle(),
            now=time.monotonic(),
        )

    def _read_contained(
        self, endpoint: RouterEndpoint, peer_id: PeerId, frames: list[Buffer], now: float
    ) -> None:
        """Handle a multipart message; whatever it does to us, it ends that session at most."""
        try:
            self._multipart_received(endpoint, peer_id, frames, now)
        except BaseException as error:  # noqa: BLE001 -- the containment raises what is not for it
            self._containment.caught(error, lambda: ("frames", endpoint.name, peer_id, frames[:1]))
            if (peer := self._peers.get(peer_id)) is not None:
                self._drop_session(peer, now)

    def _multipart_received(
        self, endpoint: RouterEndpoint, peer_id: PeerId, frames: list[Buffer], now: float
    ) -> None:
        if endpoint.is_flooded:
            error = WireError("a message of too many frames")
            if self._protocol_broken(endpoint, peer_id, error, now):
                self._listeners.hang_up(endpoint, now=now)
            return
        peer = self._peers.get(peer_id)
        if peer is None:
            if refusal := self._peers.objection(endpoint, peer_id):
                self._reply_without_session(endpoint, peer_id, Refused(refusal))
                return
            link = Link(self._link_limits, work_apart=endpoint.keeps_work_apart)
            peer = self._peers.open(peer_id, endpoint, link, now=now)
        elif peer.endpoint is not endpoint:
            self._reply_without_session(
                endpoint, peer_id, Refused("another connection has this id")
            )
            return
        self._peers.heard(peer, now=now)
        try:
            deliveries = peer.link.receive(frames)
        except WireError as error:
            self._listeners.charge_useless(len(frames))
            self._protocol_broken(endpoint, peer_id, error, now)
            return
        if (late := self._reassembly.heard(peer.id, peer.link, now=now)) is not None:
            held, most = self._reassembly.bytes, self._limits.max_bytes_arriving
            self._sender.send_now(peer, too_much_arrives(late, held=held, most=most))
        if endpoint.is_queue:
            for delivery in without_superfluous_starts(deliveries):
                self._delivered(peer, delivery, now)
        else:
            self._parked.extend((peer, delivery) for delivery in deliveries)

    def _delivered(self, peer: Peer, delivery: Delivery, now: float) -> None:
        message = without_payloads(delivery) if delivery.refusal else delivery.message
        if isinstance(message, Rejected):
            self._sender.send_now(peer, message)
        else:
            self._message_received(peer, message, delivery.payloads, now)

    def _protocol_broken(
        self, endpoint: Endpoint, peer_id: PeerId, error: WireError, now: float
    ) -> bool:
        """Drop the session of a peer that broke the protocol, and tell it so.

        Returns:
            Whether its connection is still there.
        """
        self._listeners.count_wire_error(endpoint.name, peer_id, error)
        peer = self._peers.get(peer_id)
        if peer is not None and peer.endpoint is endpoint:
            self._drop_session(peer, now)
        answer = Refused(str(error)) if isinstance(error, VersionMismatchError) else WhoAreYou()
        return self._reply_without_session(endpoint, peer_id, answer)

    def _message_received(
        self, peer: Peer, message: Message, payloads: Sequence[Buffer], now: float
    ) -> None:
        refusal = objection(message, port=peer.endpoint.name, is_queue=peer.endpoint.is_queue)
        if refusal:
            self._sender.send_now(peer, Refused(refusal))
            return
        message = cast("ToBroker", message)  # or there would have been an objection
        if peer.is_behind and not isinstance(message, _WITHOUT_ANSWERS):
            return
        if isinstance(message, Ask):
            self._ask(peer, message, now)
        else:
            self._give_to_machine(peer, message, payloads, now)

    def _ask(self, peer: Peer, ask: Ask, now: float) -> None:
        """Answer a question, unless the peer has used up its share of time for long answers."""
        if not peer.may_ask(now=now):
            reason = "your questions take too much of the broker's time: ask again in a while"
            self._sender.send_now(peer, Answer(request_id=ask.request_id, error=reason))
            return
        began = time.thread_time()
        credentials = peer.endpoint.credentials_of(peer.id)
        answered = answer(
            ask,
            self._subjects,
            is_admin=credentials.is_admin,
            knows=lambda task_id: self._machine.knows(task_id, credentials),
        )
        if answered is not None:
            self._sender.send_now(peer, answered)
        else:
            self._give_to_machine(peer, ask, (), now)
        peer.charge(time.thread_time() - began)

    def _give_to_machine(
        self, peer: Peer, message: ToBroker, payloads: Sequence[Buffer], now: float
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

    def _contained(self, duty: Duty, now: float) -> None:
        """Do something that no single peer is to blame for; if it raises, the turn goes on."""
        try:
            duty(now=now)
        except BaseException as error:  # noqa: BLE001 -- as above
            self._containment.caught(error, lambda: getattr(duty, "__name__", duty))

    def _let_time_pass(self, *, now: float) -> None:
        self._driver.tick(now=now)
        if self._listeners.is_inspection_due(now=now):
            self._inspect_peers(now)
        for peer_id, failure in self._sender.take_failures():
            self._driver.receive(peer_id, failure, now=now)
        self._driver.finish(now=now)

    def _inspect_peers(self, now: float) -> None:
        """Drop peers that are gone or stopped in the middle of a transfer; probe quiet ones."""
        self._listeners.inspect_connections(now=now)
        for endpoint, peer_id, refusal in self._listeners.changed_keys():
            self._key_changed(endpoint, peer_id, refusal, now)
        for peer in self._peers.silent(now=now):
            if peer.stalled_at <= now:
                self._statistics.slow_peers_dropped += 1
                logger.warning("dropped %r: it does not read", peer.id)
            self._drop_session(peer, now)
        for peer_id in self._reassembly.overdue(now=now):
            stopped = self._peers.get(peer_id)
            assert stopped is not None
            error = WireError("a transfer stopped in the middle")
            self._protocol_broken(stopped.endpoint, peer_id, error, now)
        for peer in self._peers.to_probe(now=now):
            # ZeroMQ reports a lost peer only when something is sent to it.
            self._sender.send_now(peer, BrokerHeartbeat())

    def _key_changed(
        self, endpoint: RouterEndpoint, peer_id: PeerId, refusal: str, now: float
    ) -> None:
        """End a session whose key is no longer valid, or make it reconnect under its new terms."""
        if refusal:
            logger.warning("ended a connection to %s: %s", endpoint.name, refusal)
        if (peer := self._peers.get(peer_id)) is not None:
            self._drop_session(peer, now)
        self._reply_without_session(endpoint, peer_id, Refused(refusal) if refusal else WhoAreYou())

    # ---- out -----------------------------------------------------------------------------------

    def _send(self, now: float) -> None:
        self._collect(now)
        self._sender.release()
        while lost := self._sender.flush(now=now):
            for peer in lost:
                self._drop_session(peer, now)
            self._collect(now)
            self._sender.release()
            if self._sender.is_interrupted:
                break

    def _drop_session(self, peer: Peer, now: float) -> None:
        """End a session. A peer that is still there will be asked to introduce itself again."""
        self._close_session(peer)
        self._driver.peer_lost(peer.id, now=now)

    def _close_session(self, peer: Peer) -> None:
        self._reassembly.drop_peer(peer.id)
        self._peers.close(peer)

    def _reply_without_session(
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
