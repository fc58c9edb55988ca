"""Whatever happens in whatever order: every attempt is answered once, every payload released."""

from collections import Counter, deque

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.worker_bench import Bench, key_of, make_bench, outcome

from paintmq.task import TaskError
from paintmq.wire.messages import (
    Abandon,
    AttemptCrashed,
    AttemptFailed,
    AttemptRecorded,
    AttemptReturned,
    AttemptSucceeded,
    BrokerHeartbeat,
    FromWorker,
    Heartbeat,
    Preload,
    WhoAreYou,
    WorkerHello,
    WorkerWelcome,
)
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    HostBeat,
    HostLeaving,
    HostLoaded,
    HostLoadFailed,
    HostReady,
    Key,
    Load,
    Run,
    Unload,
)
from paintmq.worker.machine.batches import PUT_BACKS
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
from paintmq.worker.machine.model_cache import ModelCache

MODELS = ("alpha", "beta", "gamma")


@define
class World:
    """A shell, a broker and a model host for one machine, each as strict as the real one."""

    bench: Bench = field(factory=make_bench)
    count: int = 0
    host: str = "absent"
    orders: "deque[Load | Run]" = field(factory=deque)
    loaded: ModelCache = field(factory=lambda: ModelCache(250))
    inputs: set[Key] = field(factory=set)
    outputs: set[Key] = field(factory=set)
    begun: set[Key] = field(factory=set)
    """What a host has touched."""
    tries: Counter[Key] = field(factory=Counter)
    """How often a host was given it."""
    answers: dict[Key, FromWorker] = field(factory=dict)
    recorded: set[Key] = field(factory=set)
    abandoned: set[Key] = field(factory=set)
    left: bool = False

    def do(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case SendToBroker(message):
                    self.hear(message)
                case StartHost():
                    assert self.host == "absent"
                    self.host, self.loaded = "starting", ModelCache(250)
                    self.orders.clear()
                case StopHost() | KillHost():
                    assert self.host in ("starting", "up", "failing")
                    self.host = "leaving"
                case SendToHost(Load() as order):
                    assert not any(isinstance(each, Run) for each in self.orders)
                    self.orders.append(order)
                case SendToHost(Unload(model)):
                    assert self.loaded.remove(model)
                case SendToHost(Run(items=items) as order):
                    assert order.model in self.loaded
                    keys = {(item.task_id, item.fence) for item in items}
                    assert keys <= self.inputs
                    self.tries.update(keys)
                    self.orders.append(order)
                    assert len(self.orders) <= 2
                case Reconnect():
                    self.do(self.bench.connect())
                case ReleaseInputs(task_id, fence):
                    self.inputs.discard((task_id, fence))
                case ReleaseOutputs(task_id, fence):
                    self.outputs.discard((task_id, fence))
                case Leave():
                    self.left = True
                case _:
                    pass

    def hear(self, message: FromWorker) -> None:
        match message:
            case AttemptSucceeded() | AttemptFailed() | AttemptCrashed() | AttemptReturned():
                key = message.task_id, message.fence
                again = key in self.answers
                assert self.answers.setdefault(key, message) == message
                assert not (again and isinstance(message, AttemptReturned))
                assert isinstance(message, AttemptReturned) or key not in self.abandoned
                assert not isinstance(message, AttemptSucceeded) or key in self.outputs
                if isinstance(message, AttemptCrashed):
                    assert key in self.begun or self.tries[key] > PUT_BACKS
            case Heartbeat(running=running) | WorkerHello(running=running):
                assert len(set(running)) == len(running)
                returned = {k for k, a in self.answers.items() if isinstance(a, AttemptReturned)}
                assert not returned & set(running)
            case _:
                pass

    # ---- what may happen ---------------------------------------------------------------------

    def assign(self, number: int) -> None:
        size = number % 3 + 1
        numbers = range(self.count, self.count + size)
        self.count += size
        self.inputs |= {key_of(each) for each in numbers}
        self.do(self.bench.assign(*numbers, model=MODELS[number % len(MODELS)]))

    def assign_again(self, number: int) -> None:
        if self.count:
            self.inputs.add(key_of(number % self.count))
            self.do(self.bench.assign(number % self.count))

    def abandon(self, number: int) -> None:
        key = key_of(number % max(self.count, 1))
        if self.count and key not in self.answers:
            grace = float(number % 7)
            self.abandoned.add(key)
            self.do(self.bench.hear(Abandon(task_id=key[0], fence=key[1], grace=grace)))

    def record(self, number: int) -> None:
        waiting = [key for key in self.answers if key not in self.recorded]
        if waiting:
            key = waiting[number % len(waiting)]
            self.recorded.add(key)
            self.do(self.bench.hear(AttemptRecorded(*key)))

    def host_works(self, number: int) -> None:
        """Let the host do the next thing, well or badly."""
        if self.host == "starting":
            self.host = "up"
            self.do(self.bench.host(HostReady()))
        elif self.host == "leaving":
            self.host = "absent"
            self.do(self.bench.exit("exited with status 0"))
        elif self.host == "up" and self.orders:
            self.begin(number)
            order = self.orders.popleft()
            if isinstance(order, Load):
                self.load(order.model, number)
            else:
                self.run(order, number)

    def load(self, model: str, number: int) -> None:
        if number % 5 == 0:
            error = TaskError(code="oom" if number % 2 else "model_error", message="no")
            self.do(self.bench.host(HostLoadFailed(model=model, error=error)))
        else:
            self.loaded.add(model, 100, seconds=1.0)
            assert self.loaded.used_mb <= 250
            self.do(self.bench.host(HostLoaded(model=model, seconds=1.0, memory_mb=100)))

    def begin(self, number: int) -> None:
        """Let the host touch the batch it comes to next."""
        order = self.orders[0] if self.orders else None
        if self.host == "up" and isinstance(order, Run):
            self.begun |= {(item.task_id, item.fence) for item in order.items}
            self.do(self.bench.begin(order.batch))

    def run(self, order: Run, number: int) -> None:
        outcomes = []
        for item in order.items:
            error = "oom" if number % 4 == 0 else "model_error" if number % 4 == 1 else ""
            ended = outcome(int(item.task_id, 16), error=error)
            outcomes.append(ended)
            if not error:
                self.outputs.add((item.task_id, item.fence))
        half = len(outcomes) // 2
        for part in (outcomes[:half], outcomes[half:]):
            self.do(self.bench.host(AttemptsEnded(batch=order.batch, outcomes=tuple(part))))

    def crash(self, number: int) -> None:
        if self.host in ("starting", "up"):
            self.host = "absent"
            self.do(self.bench.exit())

    def leave(self, number: int) -> None:
        if self.host == "up":
            self.do(self.bench.host(HostLeaving("device_error")))

    def pass_time(self, number: int) -> None:
        self.bench.now += number % 13
        self.do(self.bench.at(self.bench.now))

    def live_on(self, number: int) -> None:
        self.do(self.bench.hear(BrokerHeartbeat()))
        if self.host == "up":
            self.do(self.bench.host(HostBeat(memory_mb=1)))

    def welcome(self, number: int) -> None:
        self.do(self.bench.hear(WorkerWelcome(incarnation=7, heartbeat=5.0, lease=30.0)))

    def forget(self, number: int) -> None:
        self.do(self.bench.hear(WhoAreYou()))

    def preload(self, number: int) -> None:
        self.do(self.bench.hear(Preload(MODELS[number % len(MODELS)])))

    def settle(self) -> None:
        """Let everything go well until nothing more is to be done."""
        for _ in range(400):
            self.welcome(0)
            self.live_on(0)
            self.host_works(3)
            self.record(0)
            self.pass_time(1)


STEPS = (
    World.assign,
    World.assign,
    World.assign,
    World.assign,
    World.host_works,
    World.host_works,
    World.host_works,
    World.host_works,
    World.begin,
    World.assign_again,
    World.abandon,
    World.record,
    World.crash,
    World.leave,
    World.pass_time,
    World.live_on,
    World.welcome,
    World.forget,
    World.preload,
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1000)), min_size=30, max_size=60))
def test_every_attempt_is_answered_once_and_every_payload_released(
    steps: list[tuple[object, int]],
) -> None:
    world = World()
    world.do(world.bench.connect())
    for step, number in steps:
        step(world, number)  # type: ignore[operator]  # a method of World
    world.settle()

    assert set(world.answers) == {key_of(number) for number in range(world.count)}
    assert world.bench.machine.held == ()
    assert world.inputs == set()
    assert world.outputs == set()


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1000)), min_size=20, max_size=40),
    st.floats(0.0, 20.0),
)
def test_a_drained_worker_answers_everything_and_leaves(
    steps: list[tuple[object, int]], grace: float
) -> None:
    world = World()
    world.do(world.bench.connect())
    for step, number in steps:
        step(world, number)  # type: ignore[operator]  # a method of World
    world.do(world.bench.machine.drain(grace, now=world.bench.now))
    world.settle()

    assert world.left
    assert set(world.answers) == {key_of(number) for number in range(world.count)}
