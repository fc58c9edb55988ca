"""A broker's machine to play with: factories that need only what a test is about.

Used by PaintMQ's own tests, and by anybody who wants to see what the broker would do.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import define, field

from paintmq.broker.accounting.happening import Happening
from paintmq.broker.machine import NO_KEYS, BrokerMachine, Credentials, Step
from paintmq.broker.records import Record, replay
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.config import DEFAULT_QUEUE_CONFIGS, Limits, QueueConfig, Timers
from paintmq.model import ModelSpec
from paintmq.plugin.catalog import Catalog
from paintmq.routing import Router
from paintmq.task import Fence, PayloadInfo, PeerId, TaskError, TaskRequest
from paintmq.testing.example_tasks import make_hello, make_request, make_spec
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import (
    Answer,
    Ask,
    Assign,
    Assignment,
    AttemptCrashed,
    AttemptFailed,
    AttemptStarted,
    AttemptSucceeded,
    Cancel,
    CancelAnswered,
    ClientHello,
    FromBroker,
    Heartbeat,
    Rejected,
    Submit,
    ToBroker,
)

ALICE, BOB = PeerId(b"client-alice"), PeerId(b"client-bob")
W1, W2 = PeerId(b"worker-1"), PeerId(b"worker-2")
EPOCH = 1_000_000.0
"""Where the clock of a harness starts, in broker seconds."""

MessageT = TypeVar("MessageT")


def make_machine(
    *,
    specs: Sequence[ModelSpec] | None = None,
    queues: Mapping[str, QueueConfig] = DEFAULT_QUEUE_CONFIGS,
    timers: Timers | None = None,
    limits: Limits | None = None,
    admission: str = "wait",
    incarnation: int = 7,
    router: Router | None = None,
    seed: int = 0,
    observe: Callable[[Happening], None] | None = None,
) -> BrokerMachine:
    """Return a machine with the model ``toy`` and the default queues."""
    limits = limits if limits is not None else Limits()
    rng = random.Random(seed)
    return BrokerMachine(
        incarnation=incarnation,
        catalog=Catalog(specs if specs is not None else [make_spec()]),
        scheduler=Scheduler(
            router if router is not None else PlainRouter(),
            tenant_window=limits.tenant_window,
            rng=rng,
        ),
        queues=queues,
        timers=timers if timers is not None else Timers(),
        limits=limits,
        admission=admission,
        rng=rng,
        observe=observe,
    )


@define
class BrokerHarness:
    """A machine, a clock that only moves when told to, and everything it ever said."""

    machine: BrokerMachine = field(factory=make_machine)
    now: float = EPOCH
    records: list[Record] = field(factory=list[Record], init=False)
    said: list[tuple[PeerId, FromBroker]] = field(
        factory=list[tuple[PeerId, FromBroker]], init=False
    )
    keys: dict[PeerId, Credentials] = field(factory=dict[PeerId, Credentials], init=False)
    """What the keys of peers say of them; the others come as if no keys were asked for."""
    _asked: int = field(default=0, init=False)

    def take(self, step: Step) -> list[tuple[PeerId, FromBroker]]:
        """Keep what a step led to; return its messages."""
        sends = [(send.peer, send.message) for send in step.sends]
        self.records += step.records
        self.said += sends
        self.machine.check_invariants()
        return sends

    def receive(self, peer: PeerId, message: ToBroker) -> list[tuple[PeerId, FromBroker]]:
        credentials = self.keys.get(peer, NO_KEYS)
        step = self.machine.receive(peer, message, now=self.now, credentials=credentials)
        return self.take(step)

    def let_pass(self, seconds: float) -> list[tuple[PeerId, FromBroker]]:
        """Let time pass, stopping at every deadline on the way."""
        end, sends = self.now + seconds, []
        while (deadline := self.machine.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            sends += self.take(self.machine.tick(now=self.now))
            after = self.machine.next_deadline()
            assert after is None or after > self.now, "tick left something due: it would spin"
        self.now = end
        return sends + self.take(self.machine.tick(now=self.now))

    def greet(self, *clients: PeerId) -> None:
        for client in clients or (ALICE,):
            self.receive(client, ClientHello())

    def join(self, worker: PeerId = W1, **changes: Any) -> None:
        name = {W1: "node/cpu-0", W2: "node/cpu-1"}.get(worker, worker.decode())
        self.receive(worker, make_hello(**({"name": name} | changes)))

    def submit(self, request: TaskRequest | None = None, client: PeerId = ALICE) -> TaskRequest:
        request = request if request is not None else make_request()
        self.receive(client, Submit(request))
        return request

    def start(self, assignment: Assignment, worker: PeerId = W1) -> None:
        self.receive(worker, AttemptStarted(task_id=assignment.task.id, fence=assignment.fence))

    def succeed(
        self, assignment: Assignment, worker: PeerId = W1, outputs: Iterable[PayloadInfo] = ()
    ) -> list[tuple[PeerId, FromBroker]]:
        return self.receive(
            worker,
            AttemptSucceeded(
                task_id=assignment.task.id,
                fence=assignment.fence,
                outputs=tuple(outputs),
                ran=1.0,
            ),
        )

    def ask(self, subject: str, *, client: PeerId = ALICE, **arguments: Any) -> Answer:
        """Ask as a client would; return the answer."""
        self._asked += 1
        self.receive(client, Ask(request_id=self._asked, subject=subject, arguments=arguments))
        return self.heard(client, Answer)[-1]

    def heard(self, peer: PeerId, kind: type[MessageT]) -> list[MessageT]:
        """Return what a peer was ever told of this kind."""
        return [message for to, message in self.said if to == peer and isinstance(message, kind)]

    def assigned(self, worker: PeerId = W1) -> list[Assignment]:
        """Return every assignment the worker was ever given."""
        return [item for message in self.heard(worker, Assign) for item in message.assignments]

    def status(self, request: TaskRequest) -> Any:
        return self.machine.stored()[request.id].status


def fence_before(fence: Fence) -> Fence:
    """Return the fence of the attempt before."""
    return fence._replace(attempt=fence.attempt - 1)


def ready(**options: Any) -> BrokerHarness:
    """Return a broker with one client and one worker."""
    broker = BrokerHarness(make_machine(**options))
    broker.greet(ALICE)
    broker.join(W1)
    return broker


def fail(broker: BrokerHarness, item: Assignment, *, retryable: bool, worker: PeerId = W1) -> None:
    """Let the worker say that the model raised."""
    error = TaskError(code="model_error", message="boom", retryable=retryable)
    broker.receive(worker, AttemptFailed(task_id=item.task.id, fence=item.fence, error=error))


def crash(broker: BrokerHarness, item: Assignment, *, alone: bool = True, **more: Any) -> None:
    """Let the first worker say that its process died."""
    broker.receive(
        W1,
        AttemptCrashed(
            task_id=item.task.id,
            fence=item.fence,
            alone=alone,
            **{"detail": "killed by SIGKILL", **more},
        ),
    )


def beat(broker: BrokerHarness, *items: Assignment, worker: PeerId = W1) -> None:
    """Let the worker say that it is at these."""
    running = tuple((item.task.id, item.fence) for item in items)
    broker.receive(worker, Heartbeat(running=running))


def cancel(broker: BrokerHarness, task_id: str, client: PeerId = ALICE) -> str:
    """Cancel as a client would; return the answer."""
    broker.receive(client, Cancel(task_id))  # type: ignore[arg-type]  # an id as a client types it
    return broker.heard(client, CancelAnswered)[-1].answer


def restarted(broker: BrokerHarness, **options: Any) -> BrokerHarness:
    """Return a broker of another incarnation on the same journal."""
    again = BrokerHarness(make_machine(incarnation=8, **options), now=broker.now)
    stored = list(replay(broker.records).values())
    again.take(again.machine.restore(stored, now=again.now))
    return again


def workers(broker: BrokerHarness) -> Any:
    """Return the rows that a question for the workers is answered with."""
    return broker.ask("workers").value


def rejection(broker: BrokerHarness) -> Rejected:
    """Return what the client was told last of a task that was refused."""
    return broker.heard(ALICE, Rejected)[-1]
