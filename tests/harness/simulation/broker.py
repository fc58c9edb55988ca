"""A broker process: the real machine between a simulated disk and a simulated network."""

import random
from collections import deque
from collections.abc import Callable, Collection
from typing import TypeAlias, cast, get_args

from attrs import define, evolve, field

from paintmq.broker.machine import NO_KEYS, BrokerMachine, Credentials, Send, Step
from paintmq.broker.machine.reconfiguration import Reconfiguration
from paintmq.broker.recording.input_log import InputLog
from paintmq.broker.records import Recovered, TaskChanged
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import Limits, QueueConfig, RouterConfig, Timers
from paintmq.model import ModelSpec
from paintmq.plugin.catalog import Catalog
from paintmq.routing import Router
from paintmq.task import Json, PeerId, TaskId, TaskState
from paintmq.wire.messages import (
    Accepted,
    Ask,
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    ClientHello,
    FromBroker,
    ToBroker,
    Welcome,
)
from tests.harness.simulation.store import SimulatedStore
from tests.harness.simulation.world import Agenda

OPERATOR = PeerId(b"operator/1")
"""Who asks for dead letters to be requeued, and reads no answers."""


Answers: TypeAlias = (
    AttemptStarted
    | AttemptProgressed
    | AttemptSucceeded
    | AttemptFailed
    | AttemptCrashed
    | AttemptReturned
)
_ANSWERS = frozenset(get_args(Answers))


@define
class SimulatedBroker:
    """Dies, freezes and starts again; ``transmit`` carries a message to a peer."""

    agenda: Agenda
    rng: random.Random
    specs: list[ModelSpec]
    store: SimulatedStore
    transmit: Callable[[PeerId, FromBroker], None]
    capacity: int
    tenant_window: int
    make_router: Callable[[], Router]
    credentials_of: Callable[[PeerId], Credentials] = lambda peer: NO_KEYS
    """What the key of a peer says of it."""
    record: Callable[["SimulatedBroker"], InputLog | None] = lambda broker: None
    """Called at each start; what it returns is told every input of the machine from then on."""
    timers: Timers = field(factory=Timers)
    limits: Limits = field(init=False)
    queues: dict[str, QueueConfig] = field(init=False)
    machine: BrokerMachine | None = field(default=None, init=False)
    starts: int = field(default=0, init=False)
    steps: int = field(default=0, init=False)
    _input_log: InputLog | None = field(default=None, init=False)
    frozen_until: float = field(default=0.0, init=False)
    disk_full: bool = field(default=False, init=False)
    draining: bool = field(default=False, init=False)
    wall_clock: float = field(default=0.0, init=False)
    """Seconds by which the wall clock was set; it is only read at a start."""
    _outbox: deque[tuple[int, tuple[Send, ...]]] = field(
        factory=deque[tuple[int, tuple[Send, ...]]], init=False
    )
    _tick_at: float | None = field(default=None, init=False)
    _behind: float = field(default=0.0, init=False)
    """Seconds the broker's clock is behind: it stands still while it is frozen (fault F5), and
    starts with the wall clock, but never before the last record."""

    def __attrs_post_init__(self) -> None:
        self.limits = Limits(tenant_window=self.tenant_window)
        self.queues = {
            "cpu-light": QueueConfig(effort="light", capacity=self.capacity),
            "cpu-intensive": QueueConfig(effort="intensive", capacity=self.capacity),
            "cpu-any": QueueConfig(effort="any", capacity=self.capacity),
            "cpu-spare": QueueConfig(effort="any", capacity=self.capacity),
        }

    @property
    def now(self) -> float:
        return self.agenda.now - self._behind

    def start(self) -> None:
        self.starts += 1
        self._behind = self.agenda.now - max(
            self.agenda.now + self.wall_clock, self.store.last_time
        )
        self._input_log = self.record(self)
        rng = random.Random(self.starts)  # of its own, so that its inputs alone say what it does
        self.machine = BrokerMachine(
            incarnation=self.starts,
            catalog=Catalog(self.specs),
            scheduler=Scheduler(self.make_router(), tenant_window=self.tenant_window, rng=rng),
            queues=self.queues,
            timers=self.timers,
            limits=self.limits,
            admission="wait",
            rng=rng,
        )
        self.set_disk_full(full=self.disk_full)
        self.store.recover(now=self.now)
        tasks = self.store.read()
        if self._input_log is not None:
            self._input_log.restored(self.now, Recovered(tasks=tuple(tasks)))
        self.perform(self.machine.restore(tasks, now=self.now))

    def kill(self) -> None:
        self.check_store()
        self._end()
        self.store.crash()

    def _end(self) -> None:
        self.machine, self._tick_at, self.draining = None, None, False
        self._outbox.clear()
        self.stop_recording()

    def stop_recording(self) -> None:
        if self._input_log is not None:
            self._input_log.close()
            self._input_log = None

    def drain(self, grace: float, stopped: Callable[[], None]) -> None:
        """Stop as SIGTERM does: let running attempts finish within the grace, then end."""
        assert self.machine is not None
        self.draining = True
        if self._input_log is not None:
            self._input_log.draining(self.now)
        self.machine.set_draining()
        self._look_whether_drained(self.machine, self.agenda.now + grace, stopped)

    def _look_whether_drained(
        self, machine: BrokerMachine, until: float, stopped: Callable[[], None]
    ) -> None:
        if machine is not self.machine:
            return  # it was killed
        frozen = self.frozen_until > self.agenda.now
        done = machine.is_idle() or self.agenda.now >= until
        if done and self.store.is_settled and not frozen:
            self._end()
            stopped()
        else:
            self.agenda.after(0.5, self._look_whether_drained, machine, until, stopped)

    def check_store(self) -> None:
        """Raise AssertionError if the store, once all is written, has another state than we."""
        if self.machine is not None and self.store.is_settled:
            stored = {task.request.id: task for task in self.store.tasks()}
            assert self.machine.stored() == stored, "I17: the store and the machine disagree"

    def dead(self) -> list[TaskId]:
        """Return the dead letters."""
        if self.machine is None:
            return []
        stored = self.machine.stored().items()
        return [task_id for task_id, task in stored if task.status.state is TaskState.DEAD]

    def ask(self, subject: str, arguments: dict[str, Json]) -> None:
        """Ask what an operator may ask."""
        self.receive(OPERATOR, ClientHello(name="operator"))
        self.receive(OPERATOR, Ask(request_id=1, subject=subject, arguments=arguments))

    def use_queues(self, names: Collection[str]) -> None:
        """Remove the other queues until the next call, or the next start."""
        if self.machine is None:
            return
        queues = {name: queue for name, queue in self.queues.items() if name in names}
        new = Reconfiguration(
            queues=queues, timers=self.timers, limits=self.limits, admission="wait"
        )
        if self._input_log is not None:
            self._input_log.reconfigured(self.now, new)
        self.perform(self.machine.reconfigure(new, now=self.now))

    def replace_router(self, router: Router) -> None:
        if self.machine is not None:
            if self._input_log is not None:
                self._input_log.rerouted(self.now, RouterConfig(name="plain"))
            self.perform(self.machine.replace_router(router, now=self.now))

    def freeze(self, seconds: float) -> None:
        """Stop the process as SIGSTOP does; what arrives meanwhile waits in its sockets."""
        self.frozen_until = self.agenda.now + seconds
        self._behind += seconds

    def receive(self, peer: PeerId, message: ToBroker) -> None:
        if self.machine is None:
            return
        if self.frozen_until > self.agenda.now:
            self.agenda.at(self.frozen_until, self.receive, peer, message)
            return
        stale: Answers | None = None
        if type(message) in _ANSWERS and self._is_stale(answer := cast("Answers", message)):
            stale = answer
        if stale is not None:
            self._let_time_pass(self.machine)  # so that what is due anyway is not put down to it
        step = self._give(self.machine, peer, message)
        if stale is not None:
            _check_stale(stale, step)
        self.perform(step)

    def receive_at_once(self, peer: PeerId, message: ToBroker) -> Step:
        """Give a message to a machine that runs, without a network; return what it led to."""
        assert self.machine is not None
        step = self._give(self.machine, peer, message)
        self.perform(step)
        return step

    def _give(self, machine: BrokerMachine, peer: PeerId, message: ToBroker) -> Step:
        credentials = self.credentials_of(peer)
        if self._input_log is not None:
            self._input_log.received(self.now, peer, message, credentials)
        return machine.receive(peer, message, now=self.now, credentials=credentials)

    def let_time_pass(self) -> None:
        """Act on what is due."""
        if self.machine is not None:
            self._let_time_pass(self.machine)

    def _is_stale(self, answer: Answers) -> bool:
        """Return whether a worker speaks of an attempt that is over, or was never its own."""
        assert self.machine is not None
        task = self.machine.stored_task(answer.task_id)
        return task is None or task.status.fence != answer.fence

    def set_disk_full(self, *, full: bool) -> None:
        self.disk_full = full
        if self.machine is not None:
            if self._input_log is not None:
                self._input_log.disk_full(self.now, full=full)
            self.machine.set_disk_full(full=full)

    def perform(self, step: Step) -> None:
        """Commit, then speak: also what has no record of its own may rest on one before it."""
        machine = self.machine
        assert machine is not None
        if self._input_log is not None:
            self._input_log.stepped(step)
        self.steps += 1
        if self.steps % 97 == 0:
            machine.check_invariants()
            assert machine.statistics(now=self.now).unaccounted == 0, "I10: does not add up"
            assert self.draining or machine.conserves_work(now=self.now), "I21: a worker idles"
        sequence = self.write(step)
        if step.sends:
            self._outbox.append((sequence, step.sends))
        self.flush()
        self._schedule_tick()

    def write(self, step: Step) -> int:
        return self.store.write(step.records, self.flush, now=self.now)

    def flush(self) -> None:
        outbox = self._outbox
        while outbox and outbox[0][0] <= self.store.durable:
            for send in outbox.popleft()[1]:
                self.speak(send)

    def speak(self, send: Send) -> None:
        message = send.message
        if isinstance(message, Accepted | Welcome):
            message = evolve(message, durable_sequence=self.store.durable)
        self.transmit(send.peer, message)

    def _let_time_pass(self, machine: BrokerMachine) -> None:
        if self._input_log is not None:
            self._input_log.ticked(self.now)
        self.perform(machine.tick(now=self.now))

    def _schedule_tick(self) -> None:
        assert self.machine is not None
        deadline = self.machine.next_deadline()
        if deadline is None:
            return
        when = max(deadline + self._behind, self.frozen_until)
        if deadline > self.now:
            when = max(when, self.agenda.now + 1e-6)  # the sum may be a hair too small
        if self._tick_at is None or when < self._tick_at:
            self._tick_at = when
            self.agenda.at(when, self._tick, self.machine, when)

    def _tick(self, machine: BrokerMachine, when: float) -> None:
        if machine is not self.machine or self._tick_at != when:
            return
        if self.frozen_until > self.agenda.now:
            self.agenda.at(self.frozen_until, self._tick, machine, when)
            return
        self._tick_at = None
        self._let_time_pass(machine)
        again = machine.next_deadline()
        assert again is None or again > self.now, "tick left something due: it would spin"


def _check_stale(answer: Answers, step: Step) -> None:
    changes = [
        record.event
        for record in step.records
        if isinstance(record, TaskChanged) and record.task_id == answer.task_id
    ]
    # It may have freed the worker that takes the task next.
    assert changes in ([], ["lease"]), f"I5: {answer.task_id} by an old fence: {changes}"
