"""The shell of a WorkerMachine: its connection, its model host, its payloads, its crash journal.

It lives in its node's loop beside the other agents and never computes: what it is told it carries
out at once, and what would block it waits in a queue until the loop says that it can go on.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from attrs import evolve, frozen

from paintmq.errors import ConfigError, WireError
from paintmq.identifiers import new_peer_id
from paintmq.model import ModelSpec
from paintmq.task import Buffer, TaskId
from paintmq.transport.key_files import PeerKey
from paintmq.transport.sockets import Context
from paintmq.wire.link import Delivery
from paintmq.wire.messages import (
    Assign,
    AttemptReturned,
    FromWorker,
    Refused,
    ToWorker,
    WorkerGoodbye,
    WorkerWelcome,
)
from paintmq.wire.transfer import Payload
from paintmq.worker.agent.broker_connection import BrokerConnection
from paintmq.worker.agent.crash_journal import CrashJournal
from paintmq.worker.agent.held_payloads import HeldPayloads
from paintmq.worker.agent.held_tasks import held_tasks
from paintmq.worker.agent.host_process import READ_BUDGET, HostProcess
from paintmq.worker.agent.known_broker import KnownBroker
from paintmq.worker.agent.model_log import ModelLog
from paintmq.worker.agent.observations import Measure, Observations, not_measured
from paintmq.worker.agent.readable_messages import as_readable, objection_to
from paintmq.worker.agent.readiness import Readiness
from paintmq.worker.channel.marked_output import OutputLine
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    Configure,
    FromHost,
    Key,
    MarkPlace,
    Shutdown,
    ToHost,
)
from paintmq.worker.machine.commands import (
    Command,
    KillHost,
    Leave,
    Reconnect,
    ReleaseInputs,
    ReleaseOutputs,
    SendToBroker,
    SendToHost,
    StartHost,
    StopHost,
)
from paintmq.worker.machine.host_life import with_telling_line
from paintmq.worker.machine.machine import WorkerMachine
from paintmq.worker.machine.profile import WorkerProfile, WorkerTimers

RECEIVE_BUDGET = 64
"""Messages of the broker that one turn of the loop takes."""
STOP_GRACE = 2.0
"""Seconds a host has to unload its models when it is stopped."""
PROBE_AFTER = 2.5
"""Seconds of silence after which the system is asked whether the host is running at all: a model
that holds the interpreter lock cannot send beats, and is no reason to kill it."""

logger = logging.getLogger(__name__)

Clock: TypeAlias = Callable[[], float]


@frozen(kw_only=True)
class AgentSetup:
    """What an agent is made for."""

    profile: WorkerProfile
    specs: Mapping[str, ModelSpec]
    endpoint: str
    """Of its home queue."""
    key: PeerKey | None = None
    """What it shows to a broker that asks for keys."""
    configure: Configure
    """What to tell a new host; the scratch folder and the mark are filled in."""
    environment: Mapping[str, str]
    """Variables of the host beside our own, such as CUDA_VISIBLE_DEVICES."""
    timers: WorkerTimers


class WorkerAgent:
    """One worker in its node's loop. All methods belong to the thread of that loop."""

    def __init__(
        self,
        setup: AgentSetup,
        *,
        context: Context,
        readiness: Readiness,
        journal: CrashJournal | None = None,
        clock: Clock = time.monotonic,
        known: KnownBroker | None = None,
        measure: Measure = not_measured,
    ) -> None:
        self.has_left = False
        """It has drained and said goodbye; only ``close`` remains to be called."""
        self.handed_back: dict[TaskId, None] = {}
        """Tasks it gave back unharmed when it drained, in that order."""
        self._setup = setup
        self._context = context
        self._readiness = readiness
        self._journal = journal
        self._clock = clock
        self._known = known or KnownBroker()
        self._machine = WorkerMachine(setup.profile, setup.specs, timers=setup.timers)
        self._broker: BrokerConnection | None = None
        self._host: HostProcess | None = None
        self._dismissed = False
        self._kill_at = math.inf
        self._probe_at = math.inf
        self._payloads = HeldPayloads()
        self._observations = Observations(ModelLog(setup.profile.name), measure)
        self._last_death = ""

    @property
    def name(self) -> str:
        return self._setup.profile.name

    @property
    def profile(self) -> WorkerProfile:
        return self._setup.profile

    @property
    def endpoint(self) -> str:
        """Of its home queue."""
        return self._setup.endpoint

    @property
    def held(self) -> tuple[Key, ...]:
        return self._machine.held

    def start(self, *, found_alone: bool = True) -> None:
        """Connect, and report what the crash journal holds.

        ``found_alone`` says whether no other worker of the node that died ran anything.
        """
        found = self._journal.found if self._journal is not None else None
        if found is not None:
            died_with = ", ".join(task for task, _ in found.keys)
            logger.warning("%s: an earlier process died while it ran %s", self.name, died_with)
            alone, now = found_alone and found.size == 1, self._clock()
            self._carry_out(self._machine.crashes_found(found.keys, alone=alone, now=now))
        self._connect()
        self._flush()  # no turn of the loop comes before the first deadline

    def drain(self, grace: float) -> None:
        """Take nothing more, finish or hand back within ``grace`` seconds, then leave."""
        self._carry_out(self._machine.drain(grace, now=self._clock()))

    def move_to(self, queue: str, endpoint: str) -> None:
        """Connect to this queue from now on, with all that it holds, as the known broker says.

        Where it is there, and did not know whose broker that is, it looks again.
        """
        if self._broker is not None:
            self._look_again(self._broker)
        is_there = (queue, endpoint) == (self.profile.queue, self.endpoint)
        if self.has_left or (is_there and self._broker is not None):
            return
        if self._broker is not None and self._broker.held_back:
            # Nothing of what it gave us was taken: let it give that to others at once.
            self._broker.send(WorkerGoodbye())
            self._broker.flush()
            self._disconnect(linger=0.2)
        profile = evolve(self._setup.profile, queue=queue)
        self._setup = evolve(self._setup, endpoint=endpoint, profile=profile)
        self._machine.moved(queue)
        self._disconnect()
        self._connect()
        self._flush()

    def next_deadline(self) -> float:
        """Return when ``tick`` is next worth calling, by the agent's clock."""
        deadline = self._machine.next_deadline()
        return min(
            self._kill_at,
            self._probe_at,
            self._observations.next_deadline(),
            math.inf if deadline is None else deadline,
        )

    def tick(self) -> None:
        """Do what is due, and send what was said; to be called once in every turn of the loop."""
        now = self._clock()
        if self._host is not None and self._kill_at <= now:
            self._kill_at = math.inf
            self._host.kill()
        if self._host is not None and self._probe_at <= now:
            self._probe_at = now + PROBE_AFTER / 2
            if not self._host.is_stopped():
                self._machine.host_alive(now=now)
        deadline = self._machine.next_deadline()
        if deadline is not None and deadline <= now:
            self._carry_out(self._machine.tick(marked=self._marked(), now=now))
        for observed in self._observations.pop(now=now):
            self._send_to_broker(observed)
        self._flush()

    def close(self) -> None:
        """Leave nothing behind: no process, socket or file."""
        if self._host is not None:
            self._end_host(self._host)
        self._disconnect(linger=0.2)
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._payloads.clear()

    # ---- the broker ----------------------------------------------------------------------------

    def _connect(self) -> None:
        peer = new_peer_id()
        self._broker = BrokerConnection(
            self._context,
            self._setup.endpoint,
            peer,
            key=self._setup.key,
            readiness=self._readiness,
            ready=self._broker_ready,
        )
        self._carry_out(self._machine.connected(peer, now=self._clock()))

    def _reconnect(self, reason: str) -> None:
        self._known.doubt(reason)
        is_known = self._broker is None or not self._broker.held_back
        # No goodbye: if it is ours, started again, it must wait for us to come back.
        self._disconnect()
        if is_known:
            logger.info("%s: connecting again: %s", self.name, reason)
            self._connect()
        else:
            logger.info("%s: stays away until it is told where its broker is", self.name)

    def _disconnect(self, *, linger: float = 0.0) -> None:
        self._observations.disconnected()
        if self._broker is not None:
            self._broker.close(linger=linger)
            self._broker = None

    def _broker_ready(self) -> None:
        broker = self._broker
        for _ in range(RECEIVE_BUDGET):
            try:
                deliveries = broker.receive() if broker is not None else None
            except WireError as error:
                logger.warning(
                    "%s: a message of the broker is not understood: %s", self.name, error
                )
                self._carry_out([Reconnect("a message was not understood")])
                return
            if deliveries is None:
                break
            if not self._take(deliveries):
                return
        self._carry_out(self._machine.go_on(now=self._clock()))

    def _take(self, deliveries: Sequence[Delivery]) -> bool:
        """Heed what came by the present connection; return whether more of it may be read now."""
        broker = self._broker
        for place, delivery in enumerate(deliveries):
            message: ToWorker = delivery.message  # type: ignore[assignment]  # from a broker
            if isinstance(message, WorkerWelcome) and not self._known.accepts(message.incarnation):
                self._wait_to_be_told(message, deliveries[place:])
                return False
            self._delivered(message, delivery.received)
            if self._broker is not broker:
                return False  # the rest was meant for a session that has ended
        return True

    def _wait_to_be_told(self, welcome: WorkerWelcome, deliveries: Sequence[Delivery]) -> None:
        """Heed nothing that this broker says until ``move_to`` tells where ours is.

        If it is ours, started again, it has given this session tasks by now. Were the session
        ended, each of them would be lost and count as an attempt. So it is kept, by heartbeats,
        for as long as a broker may be silent.
        """
        assert self._broker is not None
        logger.info("%s: %s is another broker than before", self.name, self.endpoint)
        self._broker.hold(deliveries)
        self._known.doubt(f"another broker answers at {self.endpoint}")
        self._carry_out(self._machine.receive(welcome, now=self._clock()))

    def _look_again(self, broker: BrokerConnection) -> None:
        """Go on with a broker that is known by now; ask again about one that is not."""
        match broker.held_back[:1]:
            case [Delivery(message=WorkerWelcome(incarnation=number))]:
                pass
            case _:
                return
        if not self._known.accepts(number):
            self._known.doubt(f"another broker answers at {self.endpoint}")
        elif self._take(broker.release()):
            self._carry_out(self._machine.go_on(now=self._clock()))
            self._flush()

    def _delivered(self, message: ToWorker, payloads: Sequence[Payload]) -> None:
        match message:
            case Assign():
                self._payloads.assigned(message, payloads)
            case WorkerWelcome() if self._broker is not None:
                self._broker.open_pipes(message)
                self._observations.welcomed(message)
            case Refused(reason):
                logger.warning("%s: the broker refuses it: %s", self.name, reason)
                self._known.doubt(reason)
            case _:
                pass
        self._carry_out(self._machine.hear(message, now=self._clock()))

    def _send_to_broker(self, message: FromWorker) -> None:
        broker = self._broker
        if broker is None:
            return  # what must arrive is repeated once there is a connection
        leaves = self._machine.is_draining
        if leaves and isinstance(message, AttemptReturned) and not message.cancelled:
            self.handed_back[message.task_id] = None
        payloads = self._payloads.to_broker(message)
        try:
            broker.send(message, payloads)
        except (WireError, ValueError):
            self._send_instead(broker, message, payloads)

    def _send_instead(
        self, broker: BrokerConnection, message: FromWorker, payloads: Sequence[Buffer]
    ) -> None:
        objection = objection_to(message, payloads)
        logger.warning("%s: %s cannot be sent: %s", self.name, type(message).__name__, objection)
        readable = as_readable(message, payloads)
        if readable is not None:
            broker.send(readable)

    def _flush(self) -> None:
        if self._broker is not None:
            self._broker.flush()

    # ---- commands ------------------------------------------------------------------------------

    def _carry_out(self, commands: list[Command]) -> None:
        """Carry out the machine's commands, in order."""
        if not commands:
            return
        if self._journal is not None:
            self._journal.write(self._machine.handed_over)
        for command in commands:
            match command:
                case SendToBroker(message):
                    self._send_to_broker(message)
                case SendToHost(message):
                    self._send_to_host(message)
                case StartHost():
                    self._start_host()
                case StopHost():
                    self._dismissed = True
                    self._kill_at = self._clock() + STOP_GRACE
                    self._send_to_host(Shutdown())
                case KillHost(reason):
                    held = held_tasks(self._machine.handed_over)
                    logger.warning("%s: its model host %s%s", self.name, reason, held)
                    self._dismissed = True
                    if self._host is not None:
                        self._host.kill()
                    self._note_host_ended()
                case Reconnect(reason):
                    self._reconnect(reason)
                case ReleaseInputs(task_id, fence):
                    self._payloads.release_inputs((task_id, fence))
                case ReleaseOutputs(task_id, fence):
                    self._payloads.release_outputs((task_id, fence))
                case Leave():
                    self.has_left = True

    # ---- the host ------------------------------------------------------------------------------

    def _note_host_ended(self) -> None:
        if self._journal is not None:
            self._journal.write(self._machine.handed_over, host_ended=True)

    def _marked(self) -> int:
        """Return the batch that the host has marked as begun; 0 if there is none."""
        return self._journal.marked() if self._journal is not None else 0

    def _start_host(self) -> None:
        setup = self._setup
        try:
            host = HostProcess.start(
                self.name,
                environment=setup.environment,
                max_payload_bytes=int(setup.configure.limits["max_payload_bytes"]),
            )
        except (OSError, ConfigError) as error:
            detail, now = f"cannot be started: {error}", self._clock()
            self._carry_out(self._machine.host_exited(detail, now=now))
            self._report_death(detail, (), "", now=now)
            return
        logger.info("%s: started model host %d", self.name, host.process.pid)
        self._host = host
        host.hear = self._hear_output
        self._dismissed = False
        self._probe_at = self._clock() + PROBE_AFTER
        self._readiness.watch(host.socket.fileno(), self._host_ready)
        self._readiness.watch(host.stderr_descriptor, self._stderr_ready)
        if host.exit_descriptor >= 0:
            self._readiness.watch(host.exit_descriptor, self._host_ended)
        mark = self._journal.mark_place if self._journal is not None else MarkPlace()
        self._send_to_host(evolve(setup.configure, scratch=host.scratch, mark=mark))

    def _send_to_host(self, message: ToHost) -> None:
        if self._host is None:
            return
        self._host.send(message, self._payloads.to_host(message))
        self._watch_host(self._host)

    def _watch_host(self, host: HostProcess) -> None:
        self._readiness.watch(host.socket.fileno(), self._host_ready, write=host.wants_to_write)

    def _host_ready(self) -> None:
        """Read what the host says, write what it takes, and see whether it is gone."""
        host = self._host
        if host is None:
            return
        self._probe_at = self._clock() + PROBE_AFTER
        if host.wants_to_write:
            host.write()
            self._watch_host(host)
        self._hear_host(host, budget=READ_BUDGET)
        if host.at_end or host.exit_descriptor < 0:
            self._host_ended()

    def _host_ended(self) -> None:
        """See whether the host is gone, and answer for it."""
        host = self._host
        if host is not None and (detail := host.exit_description()) is not None:
            self._hear_host(host, budget=sys.maxsize)  # what it managed to say before
            self._end_host(host)
            dismissed, now = self._dismissed, self._clock()
            held = held_tasks(self._machine.handed_over)
            exited = self._machine.host_exited(
                detail, lines=host.last_lines, marked=self._marked(), now=now
            )
            self._carry_out(exited)
            self._note_host_ended()
            if not dismissed:
                self._report_death(detail, host.last_lines, held, now=now)

    def _stderr_ready(self) -> None:
        if self._host is not None:
            self._host.read_stderr()
            if self._host.stderr_closed:  # a closed pipe is always ready: the loop would spin
                self._readiness.forget(self._host.stderr_descriptor)

    def _hear_output(self, lines: Sequence[OutputLine]) -> None:
        self._observations.printed(lines, self._machine.handed_over, now=self._clock())

    def _report_death(self, detail: str, lines: Sequence[str], held: str, *, now: float) -> None:
        """Tell the operator, in full once, and in a line when the next host dies the same way."""
        death = with_telling_line(detail, lines)
        wait = self._machine.host_pause(now=now)
        then = f"; the next one is started {f'in {wait:.0f} s' if wait else 'when it is needed'}"
        logger.warning("%s: the model host %s%s%s", self.name, death, held, then)
        if len(lines) > 1 and death != self._last_death:
            said = "\n  ".join(lines)
            logger.warning("%s: its last words%s were\n  %s", self.name, held, said)
        self._last_death = death

    def _hear_host(self, host: HostProcess, *, budget: int) -> None:
        try:
            deliveries = host.read(budget=budget)
        except WireError as error:
            logger.warning(
                "%s: a message of its model host is not understood: %s%s",
                self.name,
                error,
                held_tasks(self._machine.handed_over),
            )
            host.kill()
            return
        for delivery in deliveries:
            message = delivery.message
            if not isinstance(message, FromHost):
                logger.warning("%s: its model host sent %s", self.name, type(message).__name__)
                host.kill()
                return
            if isinstance(message, AttemptsEnded):
                host.forget_lines()  # what these tasks printed explains no later crash
            self._payloads.answered(message, delivery.payloads)
            self._carry_out(self._machine.receive_from_host(message, now=self._clock()))

    def _end_host(self, host: HostProcess) -> None:
        self._readiness.forget(host.socket.fileno())
        self._readiness.forget(host.stderr_descriptor)
        self._readiness.forget(host.exit_descriptor)
        host.close()
        self._host = None
        self._kill_at = self._probe_at = math.inf
