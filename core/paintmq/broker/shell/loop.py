"""The broker's loop: sockets, clock and journal around the machine. One thread, no locks.

Each turn: wait; collect what the store has done; read messages; let time pass; send.

The order matters. Collecting first frees memory and learns of a full disk before more is accepted.
Time passes only after reading, so that a heartbeat which already waits in a socket renews its lease
before the machine looks whether that lease has run out: a broker that was busy, or stopped, must
not blame its workers for it. Sending comes last, when every record of the turn has been handed to
the journal: with a store in memory they count as durable at once, and the answers leave in the same
turn.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import zmq

from paintmq.broker.connections.endpoints import RouterEndpoint
from paintmq.broker.connections.listeners import Listeners
from paintmq.broker.connections.peers import PeerTable
from paintmq.broker.connections.reassembly import ReassemblyBudget
from paintmq.broker.connections.sender import Sender
from paintmq.broker.machine import BrokerMachine
from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.broker.recording.observing import Follower, Recorder
from paintmq.broker.records import Recovered
from paintmq.broker.shell.clock import BrokerClock
from paintmq.broker.shell.containment import Containment
from paintmq.broker.shell.disk_watch import DiskWatch
from paintmq.broker.shell.intake import BUSY_RECORDS, IDLE_RECORDS, Intake
from paintmq.broker.shell.loop_latency import LoopLatency
from paintmq.broker.shell.machine_driver import MachineDriver
from paintmq.broker.shell.observed import Observed
from paintmq.broker.shell.reception import Reception
from paintmq.broker.shell.server_control import Subject
from paintmq.broker.shell.turn_watch import TurnWatch
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.payload_cache import PayloadCache
from paintmq.config import Limits, RouterConfig, Timers
from paintmq.errors import WireError
from paintmq.routing import Router
from paintmq.shared_memory.broker_arenas import Arenas
from paintmq.statistics import ShellStatistics
from paintmq.task import PeerId
from paintmq.transport.wakeup import Wakeup
from paintmq.wire.messages import (
    BrokerHeartbeat,
    Refused,
    WhoAreYou,
)

logger = logging.getLogger(__name__)

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
        arenas: Arenas,
        statistics: ShellStatistics,
        watch: TurnWatch,
        observed: Observed,
        recorder: Recorder | None = None,
        observers: Sequence[Follower] = (),
        duties: Sequence[Duty] = (),
    ) -> None:
        self._machine = machine
        self._journal = journal
        self._clock = clock
        self._listeners = listeners
        self._wakeup = wakeup
        self._watch = watch
        self._duties = duties
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
        self._turned_at = time.monotonic()
        """When the last turn began."""
        self._reception = Reception(
            machine=machine,
            driver=self._driver,
            sender=self._sender,
            listeners=listeners,
            peers=self._peers,
            reassembly=self._reassembly,
            containment=self._containment,
            subjects=subjects,
            limits=limits,
            arenas=arenas,
            observed=observed,
        )

    def stop_sharing(self) -> None:
        """Let go of the memory shared with peers; there must be no turn after it."""
        self._reception.stop_sharing()

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
        with self._watch:
            self._driver.restore(recovered, now=self._clock.now())

    def drain(self) -> None:
        """Accept and dispatch nothing more."""
        self._driver.drain(now=self._clock.now())

    def replace_router(self, router: Router, config: RouterConfig) -> None:
        """Use another router from now on; ``config`` is what it was made from."""
        with self._watch:
            self._driver.replace_router(router, config, now=self._clock.now())

    def reconfigure(self, new: Reconfiguration) -> None:
        """Use other settings from now on."""
        self._driver.reconfigure(new, now=self._clock.now())

    def add_endpoint(self, endpoint: RouterEndpoint) -> None:
        """Listen for the workers of one more queue."""
        self._listeners.add(endpoint)
        for socket in endpoint.sockets:
            self._poller.register(socket, zmq.POLLIN)
            self._work_poller.register(socket, zmq.POLLIN)

    def remove_endpoint(self, endpoint: RouterEndpoint) -> None:
        """Listen there no more; sessions that are left there end. Its owner closes it."""
        for socket in endpoint.sockets:
            self._poller.unregister(socket)
            self._work_poller.unregister(socket)
        for peer in self._peers.at(endpoint):
            self._reception.drop_session(peer, self._clock.now())
        self._driver.finish(now=self._clock.now())
        self._listeners.remove(endpoint)

    def run_once(self, *, max_wait: float = LONGEST_WAIT) -> None:
        """Wait for a message, a commit or the next deadline, and act on it.

        Raises:
            StoreError: the journal failed, or another broker leads; nothing was sent that depends
                on a record not durable.
        """
        with self._watch:
            wait = self._wait_milliseconds(max_wait)
        self.turns.ends()
        poller = self._work_poller if self._listeners.any_held_back else self._poller
        polled_at = time.monotonic()
        ready = dict(poller.poll(wait))
        self.turns.begins()
        turned_at = time.monotonic()
        self._intake.earn(idle=turned_at - polled_at, busy=polled_at - self._turned_at)
        self._turned_at = turned_at
        if not self._journal.confirm():
            return  # another broker may lead by now: nothing is read, and nothing said
        with self._watch:
            self._turn(ready)

    def _turn(self, ready: Mapping[Any, int]) -> None:
        now = self._clock.now()
        if self._wakeup.fileno() in ready:
            self._wakeup.clear()
        self._collect(now)
        self._read(self._listeners.to_read(ready), now)
        self._contained(self._listeners.let_in, now)
        self._contained(self._let_time_pass, now)
        self._send(now)
        for duty in self._duties:
            self._contained(duty, now)

    def _wait_milliseconds(self, max_wait: float) -> int:
        if self._sender.has_failures or self._sender.is_interrupted:
            return 0
        wait = min(max_wait, LONGEST_WAIT, self._listeners.wait(now=self._clock.now()))
        if self._peers.any_marked:
            wait = min(wait, RETRY_SECONDS)
        if self._listeners.any_held_back:
            wait = min(wait, self._intake.wait or wait)
        wait = min(wait, max(0.0, self._sender.linger()))
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
        queues = [endpoint for endpoint in waiting if endpoint.is_queue]
        for endpoint in queues:
            self._receive(endpoint, now, min(TURN_SECONDS, READ_SECONDS / len(queues)))
        self._driver.finish(now=now)
        is_working = not self._machine.is_idle()
        for endpoint in waiting:
            if endpoint.is_queue:
                continue
            seconds = self._intake.seconds(is_working=is_working)
            began = time.monotonic()
            if seconds:
                self._read_clients(endpoint, now, seconds)
            else:
                self._hear_light_clients(endpoint, now)
                self._listeners.hold_back(endpoint)
            if is_working:
                self._intake.spend(time.monotonic() - began)

    def _receive(self, endpoint: RouterEndpoint, now: float, seconds: float) -> None:
        ends = time.monotonic() + seconds
        for _ in range(BUDGET):
            received = endpoint.receive()
            if received is None:
                if endpoint.has_more:
                    break
                return
            self._reception.receive(endpoint, *received, now)
            if time.monotonic() > ends:
                break
        self._listeners.mark_unread(endpoint)

    def _read_clients(self, endpoint: RouterEndpoint, now: float, seconds: float) -> None:
        """Do the same for clients, slice by slice."""
        reception, ends = self._reception, time.monotonic() + seconds
        has_more = True
        for _ in range(BUDGET):
            if not self._has_room():
                self._hear_light_clients(endpoint, now)
                self._listeners.hold_back(endpoint)
                return
            if has_more and reception.reads_ahead:
                received = endpoint.receive()
                if received is None:
                    has_more = False
                else:
                    reception.receive(endpoint, *received, now)
            if reception.any_parked:
                reception.take_in_slice(now)
            elif not has_more and not endpoint.has_more:
                return
            if time.monotonic() > ends or (endpoint.has_more and not has_more):
                break
        self._listeners.mark_unread(endpoint)

    def _hear_light_clients(self, endpoint: RouterEndpoint, now: float) -> None:
        """Handle what clients say that say little, though the others must wait."""
        reception, journal = self._reception, self._journal
        if journal.sequence - journal.durable >= IDLE_RECORDS:
            return
        if self._intake.hears_light and reception.reads_ahead:
            received = endpoint.receive()
            if received is not None:
                reception.receive(endpoint, *received, now)
        if self._intake.hears_light and reception.next_light is not None:
            reception.take_in_slice(now)

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
            self._reception.drop_session(peer, now)
        for peer_id in self._reassembly.overdue(now=now):
            stopped = self._peers.get(peer_id)
            assert stopped is not None
            error = WireError("a transfer stopped in the middle")
            self._reception.protocol_broken(stopped.endpoint, peer_id, error, now)
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
            self._reception.drop_session(peer, now)
        self._reception.reply_without_session(
            endpoint, peer_id, Refused(refusal) if refusal else WhoAreYou()
        )

    # ---- out -----------------------------------------------------------------------------------

    def _send(self, now: float) -> None:
        self._collect(now)
        self._sender.release()
        while lost := self._sender.flush(now=now):
            for peer in lost:
                self._reception.drop_session(peer, now)
            self._collect(now)
            self._sender.release()
            if self._sender.is_interrupted:
                break
