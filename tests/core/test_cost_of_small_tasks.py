"""What PaintMQ itself does for a small task, counted in calls: the same on every machine.

Seconds depend on the machine and its other users; a count does not. A limit is a tenth above what
was counted: whoever needs more than that adds it here, and to ``tests/benchmarks`` what it cost.
"""

import sys
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from paintmq import Task
from paintmq.client.followed_tasks import FollowedTasks
from paintmq.client.machine import ClientMachine
from paintmq.client.mailbox import Submission
from paintmq.client.message_check import check_submission
from paintmq.client.pending_answers import PendingAnswers
from paintmq.client.reachability import Reachability
from paintmq.client.session_loop import SessionLoop
from paintmq.client.window import Window
from paintmq.config import Limits, WeightsConfig
from paintmq.image import payload_of_bytes
from paintmq.model import Device, InputSpec, Model, ModelSpec
from paintmq.shared_memory.client_arena import ClientArena
from paintmq.task import Buffer, Fence, PeerId, TaskId, TaskRequest, TaskState
from paintmq.weights import WeightFolder
from paintmq.wire.link import Delivery, Link
from paintmq.wire.messages import (
    PROTOCOL_VERSION,
    Accepted,
    Assign,
    Assignment,
    AttemptRecorded,
    Finished,
    FromWorker,
    Message,
    Submit,
    Welcome,
    WorkerWelcome,
    client_hello,
)
from paintmq.wire.outlines import KnownOutlines
from paintmq.worker.agent.agent import AgentSetup, WorkerAgent
from paintmq.worker.agent.readable_messages import send_readable
from paintmq.worker.agent.readiness import Readiness
from paintmq.worker.channel.framing import FrameReader, HostDelivery, encode
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    Configure,
    HostLoaded,
    HostMessage,
    HostReady,
    Outcome,
    Run,
    RunItem,
)
from paintmq.worker.host.model_runner import HostSetup, ModelRunner
from paintmq.worker.machine.profile import WorkerProfile, WorkerTimers

TASKS = 64
BATCH = 16
INFO, DATA = payload_of_bytes("payload", b"0123456789abcdef" * 12)


class Echo(Model):
    def load(self, device: Device) -> None:
        pass

    def run(self, batch: Sequence[Any], context: object) -> list[dict[str, bytes]]:
        return [{"payload": request.inputs["payload"]} for request in batch]


ECHO = ModelSpec(
    name="echo",
    implementation="tests:Echo",
    task_types=("plugin",),
    inputs=(InputSpec(name="payload", kind="data"),),
    max_batch=BATCH,
)


def calls_a_task(work: Callable[[], object]) -> float:
    """Return how many functions are called, of Python or C, for each of ``TASKS`` tasks."""
    calls = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls / TASKS


# ---- the client ------------------------------------------------------------------------------


class LinkOnly:
    """A connection without sockets: what is sent is encoded, what arrives was decoded."""

    def __init__(self) -> None:
        self.link, self.broker = Link(), Link()
        self.arena = ClientArena()
        self.submitted: list[TaskId] = []
        self.sent: list[list[Buffer]] = []
        self.answers: list[list[Buffer]] = []

    def send(self, message: Any) -> None:
        self.link.send(message)

    def submit(self, message: Submit, payloads: Sequence[Buffer]) -> None:
        self.submitted.append(message.task.id)
        self.link.send(message, payloads)

    def flush(self) -> None:
        self.sent += self.link.outgoing()

    def receive(self) -> list[Delivery]:
        return [each for frames in self.answers for each in self.link.receive(frames)]

    def answer(self, *messages: tuple[Message, Sequence[Buffer]]) -> None:
        """Have these arrive with the next ``receive``."""
        self.flush()
        while self.sent:
            self.broker.receive(self.sent.pop(0))
        for message, payloads in messages:
            self.broker.send(message, payloads)
        self.answers = self.broker.outgoing()


def make_loop(connection: LinkOnly) -> SessionLoop:
    import random

    loop = SessionLoop(
        endpoint="tcp://127.0.0.1:1",
        machine=ClientMachine(random.Random(1)),
        followed=FollowedTasks(),
        answers=PendingAnswers(),
        window=Window(),
        reachability=Reachability("tcp://127.0.0.1:1"),
    )
    loop._connection = connection  # type: ignore[assignment]  # as far as it is used here
    loop.machine.opened(now=0.0)
    connection.send(client_hello("test"))
    welcome = Welcome(incarnation=1, durable_sequence=0, heartbeat=5.0, newest=PROTOCOL_VERSION)
    connection.answer((welcome, ()))
    loop._take_messages()
    return loop


def make_submission(followed: FollowedTasks) -> Submission:
    """Do what ``submit`` does in the thread of its caller."""
    task = Task("plugin", {"model": "echo"}, {"payload": DATA})
    prepared = task.prepare()
    followed.submit(prepared.request, task)
    check_submission(prepared.request, len(prepared.payloads))
    return Submission(prepared.request, prepared.payloads, patient=False)


def calls_of_a_client() -> dict[str, float]:
    """Return the calls that each stage of a task's life takes in a client."""
    connection = LinkOnly()
    loop = make_loop(connection)
    submissions: list[Submission] = []
    handing_in = calls_a_task(
        lambda: submissions.extend(make_submission(loop.followed) for _ in range(TASKS))
    )

    def send() -> None:
        for submission in submissions:
            loop._carry_out(submission)
        loop.obey(loop.machine.tick(now=1.0))
        connection.flush()

    sending = calls_a_task(send)
    assert len(connection.submitted) == TASKS
    ids = connection.submitted
    handles = [loop.followed.get(task_id) for task_id in ids]
    connection.answer(
        *[(Accepted(task_id=each, queue="cpu_light", durable_sequence=0), ()) for each in ids]
    )
    accepting = calls_a_task(loop._take_messages)
    connection.answer(
        *[
            (Finished(task_id=each, state=TaskState.SUCCEEDED, outputs=(INFO,)), (DATA,))
            for each in ids
        ]
    )

    def end() -> None:
        loop._take_messages()
        connection.flush()

    ending = calls_a_task(end)
    taking = calls_a_task(lambda: [handle.outcome() for handle in handles if handle is not None])
    assert [handle.outcome().outputs["payload"] for handle in handles if handle] == [DATA] * TASKS
    return {
        "hand in": handing_in,
        "send": sending,
        "accepted": accepting,
        "ended": ending,
        "take": taking,
    }


def test_a_client_needs_few_calls_for_a_small_task() -> None:
    calls_of_a_client()  # what is imported and made at first use has been
    counted = calls_of_a_client()

    limits = {"hand in": 56, "send": 50, "accepted": 39, "ended": 57, "take": 19}
    assert {k: v for k, v in counted.items() if v > limits[k]} == {}


# ---- the worker ------------------------------------------------------------------------------


class ScriptedPeers:
    """The broker and the host of an agent, without sockets or processes."""

    def __init__(self) -> None:
        self.link, self.broker = Link(), Link()
        self.from_broker: list[list[Buffer]] = []
        self.said: list[FromWorker] = []
        self.known = KnownOutlines()

    # the broker's connection

    def receive(self) -> list[Delivery] | None:
        return self.link.receive(self.from_broker.pop(0)) if self.from_broker else None

    def send(self, message: FromWorker, payloads: Sequence[Buffer] = ()) -> None:
        self.said.append(message)
        send_readable(self.link, message, payloads, self.known)

    def flush(self) -> None:
        self.link.outgoing()

    def open_pipes(self, welcome: WorkerWelcome) -> None:
        pass

    def close(self, *, linger: float = 0.0) -> None:
        pass

    def say(self, *messages: tuple[Message, Sequence[Buffer]]) -> None:
        for message, payloads in messages:
            self.broker.send(message, payloads)
        self.from_broker += self.broker.outgoing()


class ScriptedHost:
    wants_to_write = False
    scratch = ""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._arrived: list[bytes] = []
        self._reader = FrameReader(1 << 30)

    def send(self, message: HostMessage, payloads: Sequence[Buffer]) -> None:
        encode(message, payloads)
        if isinstance(message, Run):
            self.runs.append(message)

    def say(self, message: HostMessage, payloads: Sequence[Buffer] = ()) -> None:
        self._arrived.append(b"".join(encode(message, payloads)))

    def read(self, *, budget: int) -> list[HostDelivery]:
        deliveries = []
        for data in self._arrived:
            self._reader.space()[: len(data)] = data
            deliveries += self._reader.received(len(data))
        self._arrived.clear()
        return deliveries

    def forget_lines(self) -> None:
        pass


def make_agent(peers: ScriptedPeers, host: ScriptedHost) -> WorkerAgent:
    profile = WorkerProfile(name="n/cpu-0", node="n", queue="cpu_light", models=("echo",))
    setup = AgentSetup(
        profile=profile,
        specs={"echo": ECHO},
        endpoint="",
        configure=Configure(worker="n/cpu-0", device="cpu", scratch=""),
        environment={},
        timers=WorkerTimers(),
    )
    clock = count(1.0, 0.001)
    agent = WorkerAgent(
        setup,
        context=None,  # type: ignore[arg-type]  # no socket is opened
        readiness=Readiness(),
        clock=lambda: next(clock),
    )
    agent._broker, agent._host = peers, host  # type: ignore[assignment]  # as far as they are used
    agent._start_host = lambda: None  # type: ignore[method-assign]
    agent._watch_host = lambda host: None  # type: ignore[method-assign]
    return agent


def hear(agent: WorkerAgent, host: ScriptedHost) -> None:
    agent._hear_host(host, budget=64)  # type: ignore[arg-type]  # as far as it is used


def test_a_workers_agent_needs_few_calls_for_a_small_task() -> None:
    peers, host = ScriptedPeers(), ScriptedHost()
    agent = make_agent(peers, host)
    peers.link.send(agent.profile.hello((), (), PeerId(b"")))
    for frames in peers.link.outgoing():
        peers.broker.receive(frames)
    welcome = WorkerWelcome(incarnation=1, heartbeat=5.0, lease=30.0, newest=PROTOCOL_VERSION)
    peers.say((welcome, ()))
    agent._broker_ready()
    requests = [
        TaskRequest(id=TaskId(f"{n:032x}"), task_type="plugin", model="echo", inputs=(INFO,))
        for n in range(TASKS)
    ]

    def assignments(attempt: int) -> None:
        for at in range(0, TASKS, BATCH):
            items = tuple(
                Assignment(task=each, fence=Fence(1, attempt), run_limit=60.0)
                for each in requests[at : at + BATCH]
            )
            peers.say((Assign(items), [DATA] * BATCH))

    def run_all() -> None:
        while host.runs:
            order = host.runs.pop(0)
            outcomes = tuple(
                Outcome(task_id=i.task_id, fence=i.fence, ending="succeeded", outputs=(INFO,))
                for i in order.items
            )
            host.say(AttemptsEnded(batch=order.batch, outcomes=outcomes), [DATA] * len(outcomes))
            hear(agent, host)
            agent.tick()

    def record(attempt: int) -> None:
        fence = Fence(1, attempt)
        peers.say(*[(AttemptRecorded(task_id=each.id, fence=fence), ()) for each in requests])

    assignments(1)
    agent._broker_ready()
    host.say(HostReady())
    host.say(HostLoaded(model="echo", seconds=0.1, memory_mb=1))
    hear(agent, host)
    run_all()
    record(1)
    agent._broker_ready()
    peers.said.clear()
    assignments(2)
    counted = {"assigned": calls_a_task(agent._broker_ready)}
    counted["ended"] = calls_a_task(run_all)
    record(2)
    counted["recorded"] = calls_a_task(agent._broker_ready)

    assert len(peers.said) == TASKS  # one message a task, and none about its start
    limits = {"assigned": 38, "ended": 88, "recorded": 24}
    assert {k: v for k, v in counted.items() if v > limits[k]} == {}


def test_a_model_host_needs_few_calls_for_a_small_task(tmp_path: Path) -> None:
    setup = HostSetup(
        specs={"echo": ECHO},
        device=Device(kind="cpu", name="cpu", memory_mb=0, threads=1),
        weights=WeightFolder(WeightsConfig()),
        limits=Limits(),
        scratch=tmp_path,
    )
    said: list[HostMessage] = []

    def send(message: HostMessage, payloads: Sequence[Buffer]) -> None:
        encode(message, payloads)
        said.append(message)

    runner = ModelRunner(setup, send)
    runner._models["echo"] = Echo(ECHO, setup.weights.for_model(ECHO))

    def run_all() -> None:
        for batch in range(TASKS // BATCH):
            items = tuple(
                RunItem(
                    task_id=TaskId(f"{n:032x}"),
                    fence=Fence(1, 1),
                    task_type="plugin",
                    options={},
                    inputs=(INFO,),
                )
                for n in range(BATCH)
            )
            runner.run(Run(batch=batch, model="echo", items=items), [DATA] * BATCH)

    run_all()
    said.clear()
    counted = calls_a_task(run_all)

    ended = [message for message in said if isinstance(message, AttemptsEnded)]
    assert [each.ending for message in ended for each in message.outcomes] == ["succeeded"] * TASKS
    assert counted <= 134
