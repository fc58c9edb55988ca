"""A node with one worker: the real machine around a simulated model host."""

import random
from collections import Counter
from collections.abc import Callable, Sequence

from attrs import define, field

from paintmq.model import ModelSpec
from paintmq.task import PeerId, TaskId
from paintmq.wire.messages import (
    Assign,
    AttemptSucceeded,
    FromWorker,
    Message,
    ToWorker,
    WorkerWelcome,
)
from paintmq.worker.channel.messages import FromHost, HostBeat
from paintmq.worker.machine.batches import HandedOver
from paintmq.worker.machine.commands import (
    Command,
    KillHost,
    Leave,
    Reconnect,
    SendToBroker,
    SendToHost,
    StartHost,
    StopHost,
)
from paintmq.worker.machine.machine import WorkerMachine
from paintmq.worker.machine.profile import WorkerProfile, WorkerTimers
from tests.harness.simulation.host import Behaviour, Nature, SimulatedHost
from tests.harness.simulation.world import Agenda

NOTICE = 0.2
"""Seconds until a host's death is seen; what it is given meanwhile is lost on it."""


@define
class GroundTruth:
    """What really happened to tasks, seen from outside every machine."""

    behaviours: dict[TaskId, Behaviour] = field(factory=dict[TaskId, Behaviour])
    starts: Counter[TaskId] = field(factory=Counter[TaskId])
    crashes_alone: Counter[TaskId] = field(factory=Counter[TaskId])
    crashes: int = 0
    bad_starts: int = 0


@define
class SimulatedNode:
    """Dies, freezes and comes back under the same worker's name."""

    name: str
    agenda: Agenda
    rng: random.Random
    specs: list[ModelSpec]
    truth: GroundTruth
    transmit: Callable[["SimulatedNode", FromWorker], None]
    piped: bool = False
    """Its queue is ``pushpull``: tasks and results go by pipes of one session."""
    bad_starts: float = 0.0
    """Share of its model hosts that die at their start."""
    connections: int = 0
    peer: PeerId = field(default=PeerId(b""))
    pipes_of: int = 0
    """The incarnation of the broker that named this connection's pipes; 0: it has none."""
    machine: WorkerMachine | None = None
    frozen_until: float = 0.0
    _clock: int = 0
    """Seconds its clock is ahead: no two processes agree on the time. (Whole ones add exactly.)"""
    _host: SimulatedHost | None = None
    _tick_at: float | None = None
    _thawed: list[Callable[[], None]] = field(factory=list[Callable[[], None]])

    @property
    def now(self) -> float:
        return self.agenda.now + self._clock

    @property
    def _keeps_marks(self) -> bool:
        """Whether its hosts can mark what they are at, for this life of the node."""
        return self._clock % 2 == 0

    def start(self, found: HandedOver | None = None) -> None:
        """Boot; ``found`` is what the crash journal says ran when the node died."""
        self._clock = self.rng.randrange(1_000_000)
        self.machine = WorkerMachine(
            WorkerProfile(
                name=self.name,
                node=self.name,
                queue="cpu-light",
                memory_mb=4096,
                cores=4,
                models=tuple(spec.name for spec in self.specs),
                credit=self.rng.choice([1, 2, 3]),
                idle_exit=self.rng.choice([None, 60.0]),
            ),
            {spec.name: spec for spec in self.specs},
            timers=WorkerTimers(host_silence=30.0),
        )
        self._connect()
        if found is not None:
            alone = found.size == 1
            self._obey(self.machine.crashes_found(found.keys, alone=alone, now=self.now))

    def kill(self, back_after: float) -> None:
        """Kill agent and host at once, as a power cut of the machine does."""
        if self.machine is None:
            return
        self._host_dies(self._host)
        mark = self._host.mark if self._host is not None else 0
        found = next((each for each in self.machine.handed_over if each.number == mark), None)
        self.machine, self._tick_at, self.frozen_until = None, None, 0.0
        self._thawed.clear()
        self.agenda.after(back_after, lambda: self.start(found))

    def kill_host(self) -> None:
        if self._host is not None:
            self._died(self._host, "killed by SIGKILL")

    def freeze(self, seconds: float) -> None:
        """Stop agent and host as SIGSTOP does; what arrives meanwhile waits."""
        if self.machine is None or self.frozen_until > self.agenda.now:
            return
        self.frozen_until = self.agenda.now + seconds
        self.agenda.after(seconds, self._thaw, self.machine)

    def thaw(self) -> None:
        """Let a frozen node go on at once."""
        if self.machine is not None and self.frozen_until > self.agenda.now:
            self.frozen_until = self.agenda.now
            self._thaw(self.machine)

    def drain(self, grace: float) -> None:
        """Ask the worker to finish and leave, as SIGTERM does; its node is started again later."""
        machine = self.machine
        if machine is not None and not machine.is_draining:
            self._when_awake(
                lambda: (
                    self._obey(machine.drain(grace, now=self.now))
                    if machine is self.machine
                    else None
                )
            )

    def receive(self, peer: PeerId, message: ToWorker) -> None:
        if peer != self.peer or self.machine is None:
            return
        machine = self.machine
        if self.frozen_until <= self.agenda.now:
            self._take(machine, peer, message)
            return
        self._thawed.append(lambda: self._take(machine, peer, message))

    def loses(self, peer: PeerId, message: Message, *, incarnation: int) -> bool:
        """Return whether the message goes into a pipe at whose other end nothing is."""
        dead = peer == self.peer and self.pipes_of not in (0, incarnation)
        return dead and isinstance(message, Assign | AttemptSucceeded)

    def _take(self, machine: WorkerMachine, peer: PeerId, message: ToWorker) -> None:
        # Whatever a connection is told later, the pipes it has are those it got first.
        if self.piped and not self.pipes_of and isinstance(message, WorkerWelcome):
            self.pipes_of = message.incarnation
        self._obey(machine.receive(message, now=self.now))

    def _connect(self) -> None:
        assert self.machine is not None
        self.connections += 1
        self.pipes_of = 0
        self.peer = PeerId(f"{self.name}/{self.connections}".encode())
        self._obey(self.machine.connected(self.peer, now=self.now))

    def _obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case SendToBroker(message):
                    self.transmit(self, message)
                case SendToHost(message):
                    if self._host is not None:
                        self._host.receive(message)
                case StartHost():
                    self._host = SimulatedHost(
                        self.agenda,
                        self.rng,
                        self.truth.behaviours,
                        say=self._host_says,
                        die=self._died,
                        started=self._task_starts,
                        keeps_mark=self._keeps_marks,
                    )
                    if self.rng.random() < self.bad_starts:
                        self.truth.bad_starts += 1
                        self._died(self._host, "exited with status 127")
                    else:
                        self._host.start()
                case KillHost():
                    self._died(self._host, "killed by SIGKILL")
                case StopHost():
                    self._died(self._host, "exit status 0")
                case Reconnect():
                    self._connect()
                case Leave():
                    self._leave()
                    return
                case _:
                    pass  # payloads exist only as descriptions here
        self._schedule_tick()

    def _leave(self) -> None:
        """The worker is done: its processes end, and its node is started again a little later."""
        if self._host is not None:
            self._host.alive = False
        self.machine, self._host, self._tick_at = None, None, None
        self._thawed.clear()
        self.agenda.after(self.rng.uniform(1.0, 60.0), self.start)

    def _task_starts(self, host: SimulatedHost, task_id: TaskId) -> None:
        self.truth.starts[task_id] += 1

    def _host_says(self, host: SimulatedHost, message: FromHost) -> None:
        if host is not self._host or self.machine is None:
            return
        machine = self.machine
        if self.frozen_until <= self.agenda.now:
            self._obey(machine.receive_from_host(message, now=self.now))
            return
        if isinstance(message, HostBeat):
            return
        self._thawed.append(
            lambda: (
                self._obey(machine.receive_from_host(message, now=self.now))
                if host is self._host
                else None
            )
        )

    def _host_dies(self, host: SimulatedHost | None) -> None:
        if host is None or not host.alive:
            return
        host.alive = False
        if host.running:
            self.truth.crashes += 1
        if len(host.running) == 1:
            self.truth.crashes_alone[host.running[0]] += 1

    def _died(self, host: SimulatedHost | None, detail: str) -> None:
        if host is None or not host.alive:
            return
        self._host_dies(host)
        machine = self.machine

        def notice() -> None:
            if host is self._host and machine is self.machine and machine is not None:
                self._host = None
                exited = machine.host_exited(detail, marked=self._marked(host), now=self.now)
                self._obey(exited)

        self.agenda.after(NOTICE, lambda: self._when_awake(notice))

    def _when_awake(self, action: Callable[[], None]) -> None:
        if self.frozen_until > self.agenda.now:
            self._thawed.append(action)
        else:
            action()

    def _thaw(self, machine: WorkerMachine) -> None:
        if machine is not self.machine:
            return
        waiting, self._thawed = self._thawed, []
        for action in waiting:
            if self.machine is machine:
                action()
        self._schedule_tick()

    def _schedule_tick(self) -> None:
        if self.machine is None:
            return
        deadline = self.machine.next_deadline()
        if deadline is None:
            return
        when = max(deadline - self._clock, self.frozen_until, self.agenda.now)
        if self._tick_at is None or when < self._tick_at or self._tick_at < self.agenda.now:
            self._tick_at = when
            self.agenda.at(when, self._tick, self.machine, when)

    def _tick(self, machine: WorkerMachine, when: float) -> None:
        if machine is not self.machine or self._tick_at != when:
            return
        if self.frozen_until > self.agenda.now:
            self._tick_at = None
            return  # the thaw schedules the next
        self._tick_at = None
        self._obey(machine.tick(marked=self._marked(self._host), now=self.now))

    def _marked(self, host: SimulatedHost | None) -> int:
        return host.mark if host is not None and host.keeps_mark else 0


def draw_behaviour(rng: random.Random) -> Behaviour:
    """Return what a task does; most are good, some are wicked."""
    nature = rng.choices(
        [
            Nature.GOOD,
            Nature.BROKEN,
            Nature.FLAKY,
            Nature.POISON,
            Nature.STUBBORN,
            Nature.ENDLESS,
        ],
        [85, 3, 5, 3, 3, 1],
    )[0]
    return Behaviour(nature, rng.lognormvariate(1.0, 1.0))
