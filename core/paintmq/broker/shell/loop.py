"""The broker's loop: sockets, clock and journal around the machine. One thread, no locks.

Each turn: wait; take in what the store has done; take in messages; let time pass; speak.
"""

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence

import zmq

from paintmq.broker.connections.endpoints import RouterEndpoint
from paintmq.broker.connections.ingress import objection, too_much_arrives, without_payloads
from paintmq.broker.connections.listeners import Listeners
from paintmq.broker.connections.outbox import Outgoing
from paintmq.broker.connections.peers import Endpoint, Peer, PeerTable, UnreachableError
from paintmq.broker.connections.reassembly import ReassemblyBudget
from paintmq.broker.connections.sender import Sender
from paintmq.broker.machine import BrokerMachine, Step
from paintmq.broker.recording.observing import Observer, Recorder
from paintmq.broker.records import Recovered, TaskChanged
from paintmq.broker.shell.clock import BrokerClock
from paintmq.broker.shell.disk_watch import DiskWatch
from paintmq.broker.shell.loop_latency import LoopLatency
from paintmq.broker.shell.server_control import Subject, answer
from paintmq.broker.stores import Buffer
from paintmq.broker.stores.failpoints import failpoint
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.payload_cache import PayloadCache, payloads_kept
from paintmq.config import Limits, RouterConfig, Timers
from paintmq.errors import VersionMismatchError, WireError
from paintmq.process.wakeup import Wakeup
from paintmq.routing import Router
from paintmq.task import PeerId
from paintmq.wire.link import Link, LinkLimits
from paintmq.wire.messages import (
    Answer,
    Ask,
    BrokerHeartbeat,
    ClientGoodbye,
    FromBroker,
    Message,
    Progressed,
    Refused,
    Rejected,
    ToBroker,
    WhoAreYou,
    WorkerGoodbye,
)

logger = logging.getLogger(__name__)

BUDGET = 200
"""Messages taken from one socket before the others have their turn."""
TURN_SECONDS = 0.004
"""Spent on one socket's messages before the others have their turn: some cost much."""
READ_SECONDS = 0.010
"""Spent on all sockets' messages in one turn, shared among those that have any."""
RETRY_SECONDS = 0.02
"""Until sending is tried again to a peer that reads too slowly."""
LONGEST_WAIT = 0.2
"""The clock must be read that often: it takes longer gaps for pauses of the process."""


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
        recorder: Recorder | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._machine = machine
        self._journal = journal
        self._clock = clock
        self._listeners = listeners
        self._subjects = subjects
        self._wakeup = wakeup
        self._recorder = recorder
        self._observers = (*observers, recorder) if recorder is not None else tuple(observers)
        self._link_limits = LinkLimits(
            max_message_bytes=max(limits.max_task_bytes, limits.max_payload_bytes)
        )
        self._payloads = PayloadCache(not journal.keeps_payloads)
        self._peers = PeerTable(
            limits.max_peers, limits.max_peers_per_key, 2 * timers.lease, timers.heartbeat
        )
        self._reassembly = ReassemblyBudget(limits.max_bytes_arriving, timers.lease)
        self._sender = Sender(journal, self._payloads, self._peers)
        self._limits = limits
        self._disk = DiskWatch(machine, journal, self._payloads, limits, recorder)
        self.turns = LoopLatency(time.perf_counter, time.thread_time)
        self._poller = zmq.Poller()
        self._poller.register(wakeup.fileno(), zmq.POLLIN)
        for socket in listeners.sockets:
            self._poller.register(socket, zmq.POLLIN)

    @property
    def is_silent(self) -> bool:
        """Whether everything said so far has been handed to the sockets."""
        return self._sender.is_silent

    @property
    def is_lonely(self) -> bool:
        """Whether nobody is connected."""
        return not self._peers

    def restore(self, recovered: Recovered) -> None:
        """Take over what the journal held; call it once, before the first turn."""
        now = self._clock.now()
        damaged = frozenset(recovered.damaged)
        endings = [
            TaskChanged(task.request.id, "finish", task.status)
            for task in recovered.tasks
            if task.request.id in damaged
        ]
        failpoint("restore.before_write")
        self._journal.write(endings, {}, now=now)
        if self._recorder is not None:
            self._recorder.restored(now, recovered)
        self._take(self._machine.restore(recovered.tasks, now=now), now)

    def drain(self) -> None:
        """Accept and dispatch nothing more."""
        if self._recorder is not None:
            self._recorder.draining(self._clock.now())
        self._machine.set_draining()

    def replace_router(self, router: Router, config: RouterConfig) -> None:
        """Let another router decide from now on, which was made by this configuration."""
        now = self._clock.now()
        if self._recorder is not None:
            self._recorder.rerouted(now, config)
        self._take(self._machine.replace_router(router, now=now), now)

    def run_once(self, *, max_wait: float = LONGEST_WAIT) -> None:
        """Wait for a message, a commit or the next deadline, and act on it.

        Raises:
            StoreError: the journal failed; nothing that was not durable has been said.
        """
        wait = self._wait_milliseconds(max_wait)
        self.turns.ends()
        ready = dict(self._poller.poll(wait))
        self.turns.begins()
        now = self._clock.now()
        if self._wakeup.fileno() in ready:
            self._wakeup.clear()
        self._collect(now)
        waiting = self._listeners.to_read(ready)
        for endpoint in waiting:
            self._receive(endpoint, now, min(TURN_SECONDS, READ_SECONDS / len(waiting)))
        self._listeners.let_in(now=now)
        self._let_time_pass(now)
        self._speak(now)

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

    def _receive(self, endpoint: RouterEndpoint, now: float, seconds: float) -> None:
        ends = time.monotonic() + seconds
        for _ in range(BUDGET):
            received = endpoint.receive()
            if received is None:
                if endpoint.has_more:
                    break
                return
            self._multipart(endpoint, *received, now)
            if time.monotonic() > ends:
                break
        self._listeners.leave(endpoint)

    def _multipart(
        self, endpoint: RouterEndpoint, peer_id: PeerId, frames: list[Buffer], now: float
    ) -> None:
        if endpoint.is_flooded:
            error = WireError("a message of too many frames")
            if self._not_understood(endpoint, peer_id, error, now):
                self._listeners.hang_up(endpoint, now=now)
            return
        peer = self._peers.get(peer_id)
        if peer is None:
            if refusal := self._peers.objection(endpoint, peer_id):
                self._say_to_stranger(endpoint, peer_id, Refused(refusal))
                return
            link = Link(self._link_limits, work_apart=endpoint.keeps_work_apart)
            peer = self._peers.open(peer_id, endpoint, link, now=now)
        elif peer.endpoint is not endpoint:
            self._say_to_stranger(endpoint, peer_id, Refused("another connection has this id"))
            return
        self._peers.heard(peer, now=now)
        try:
            deliveries = peer.link.receive(frames)
        except WireError as error:
            self._listeners.read_in_vain(len(frames))
            self._not_understood(endpoint, peer_id, error, now)
            return
        if (late := self._reassembly.heard(peer.id, peer.link, now=now)) is not None:
            held, most = self._reassembly.bytes, self._limits.max_bytes_arriving
            self._sender.say_at_once(peer, too_much_arrives(late, held=held, most=most))
        for delivery in deliveries:
            message = without_payloads(delivery) if delivery.refusal else delivery.message
            if isinstance(message, Rejected):
                self._sender.say_at_once(peer, message)
            else:
                self._message(peer, message, delivery.payloads, now)

    def _not_understood(
        self, endpoint: Endpoint, peer_id: PeerId, error: WireError, now: float
    ) -> bool:
        """Forget a peer, and let it know; return whether it is still there."""
        self._listeners.not_understood(endpoint.name, peer_id, error)
        peer = self._peers.get(peer_id)
        if peer is not None and peer.endpoint is endpoint:
            self._drop(peer, now)
        words = Refused(str(error)) if isinstance(error, VersionMismatchError) else WhoAreYou()
        return self._say_to_stranger(endpoint, peer_id, words)

    def _message(
        self, peer: Peer, message: Message, payloads: Sequence[Buffer], now: float
    ) -> None:
        refusal = objection(message, port=peer.endpoint.name, is_queue=peer.endpoint.is_queue)
        if refusal:
            self._sender.say_at_once(peer, Refused(refusal))
            return
        assert isinstance(message, ToBroker)
        if isinstance(message, Ask):
            self._ask(peer, message, now)
        else:
            self._tell(peer, message, payloads, now)

    def _ask(self, peer: Peer, ask: Ask, now: float) -> None:
        """Answer a question, unless the peer had more than its share of long answers."""
        if not peer.may_ask(now=now):
            words = "your questions take too much of the broker's time: ask again in a while"
            self._sender.say_at_once(peer, Answer(request_id=ask.request_id, error=words))
            return
        began = time.thread_time()
        is_admin = peer.endpoint.role_of(peer.id) == "admin"
        answered = answer(ask, self._subjects, is_admin=is_admin)
        if answered is not None:
            self._sender.say_at_once(peer, answered)
        else:
            self._tell(peer, ask, (), now)
        peer.charge(time.thread_time() - began)

    def _tell(self, peer: Peer, message: ToBroker, payloads: Sequence[Buffer], now: float) -> None:
        queues = peer.endpoint.queues_of(peer.id)
        if self._recorder is not None:
            self._recorder.received(now, peer.id, message, queues)
        step = self._machine.receive(peer.id, message, now=now, queues=queues)
        self._take(step, now, message, payloads)
        if isinstance(message, ClientGoodbye | WorkerGoodbye):
            self._close(peer)

    def _let_time_pass(self, now: float) -> None:
        deadline = self._machine.next_deadline()
        if deadline is not None and deadline <= now:
            if self._recorder is not None:
                self._recorder.ticked(now)
            self._take(self._machine.tick(now=now), now)
        if self._listeners.is_time_to_look(now=now):
            self._look_after_peers(now)
        for peer_id, failure in self._sender.take_failures():
            if self._recorder is not None:
                self._recorder.received(now, peer_id, failure)
            self._take(self._machine.receive(peer_id, failure, now=now), now)

    def _look_after_peers(self, now: float) -> None:
        """Drop those that are gone, or stopped in the middle; look whether others are there."""
        self._listeners.look(now=now)
        for endpoint, peer_id, refusal in self._listeners.changed_keys():
            self._key_changed(endpoint, peer_id, refusal, now)
        for peer in self._peers.silent(now=now):
            self._drop(peer, now)
        for peer_id in self._reassembly.overdue(now=now):
            stopped = self._peers.get(peer_id)
            assert stopped is not None
            error = WireError("a transfer stopped in the middle")
            self._not_understood(stopped.endpoint, peer_id, error, now)
        for peer in self._peers.to_probe(now=now):
            # Sending is how ZeroMQ tells that a peer is gone.
            self._sender.say_at_once(peer, BrokerHeartbeat())

    def _key_changed(
        self, endpoint: RouterEndpoint, peer_id: PeerId, refusal: str, now: float
    ) -> None:
        """End a session whose key is good no longer, or have it begin anew on the new terms."""
        if refusal:
            logger.warning("ended a connection to %s: %s", endpoint.name, refusal)
        if (peer := self._peers.get(peer_id)) is not None:
            self._drop(peer, now)
        self._say_to_stranger(endpoint, peer_id, Refused(refusal) if refusal else WhoAreYou())

    # ---- out -----------------------------------------------------------------------------------

    def _take(
        self,
        step: Step,
        now: float,
        message: ToBroker | None = None,
        payloads: Sequence[Buffer] = (),
    ) -> None:
        """Record what the machine decided, and queue what it said behind that."""
        for observer in self._observers:
            observer.stepped(step)
        failpoint("machine.after_step")
        kept = payloads_kept(message, payloads, step.records) if message is not None else {}
        before = self._journal.sequence
        sequence = self._journal.write(step.records, kept, now=now)
        for place, items in kept.items():
            for key, data in items:
                self._payloads.put(key, data, sequence=before + place + 1)
        self._payloads.follow(step.records)
        for send in step.sends:
            preview = isinstance(send.message, Progressed) and send.message.preview
            carried = tuple(payloads) if preview else None
            self._sender.say(sequence, Outgoing(send, carried))

    def _speak(self, now: float) -> None:
        self._collect(now)
        self._sender.release()
        while lost := self._sender.flush(now=now):
            for peer in lost:
                self._drop(peer, now)
            self._collect(now)
            self._sender.release()
            if self._sender.is_interrupted:
                break

    def _drop(self, peer: Peer, now: float) -> None:
        """Forget a connection. A peer that is still there will be asked who it is."""
        self._close(peer)
        if self._recorder is not None:
            self._recorder.lost(now, peer.id)
        self._take(self._machine.peer_lost(peer.id, now=now), now)

    def _close(self, peer: Peer) -> None:
        self._reassembly.forget(peer.id)
        self._peers.close(peer)

    def _say_to_stranger(self, endpoint: Endpoint, peer_id: PeerId, message: FromBroker) -> bool:
        """Answer somebody of whom nothing is kept; return whether it is still there."""
        link = Link(self._link_limits)
        link.send(message)
        is_there = False
        with contextlib.suppress(UnreachableError):
            for frames in link.outgoing():
                endpoint.send(peer_id, frames)
            is_there = True
        if self._peers.get(peer_id) is None:
            endpoint.forget(peer_id)
        return is_there
