"""A worker machine whose broker, model host and clock are played by hand: for tests."""

from collections.abc import Mapping
from typing import Any, TypeVar

from attrs import define, field

from paintmq.model import ModelSpec
from paintmq.task import Fence, PayloadInfo, PeerId, TaskError, TaskId, TaskRequest
from paintmq.wire.messages import (
    Abandon,
    Assign,
    Assignment,
    AttemptReturned,
    FromWorker,
    ToWorker,
    WorkerWelcome,
)
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    BatchBegun,
    FromHost,
    HostLoaded,
    HostReady,
    Key,
    Load,
    Outcome,
    Run,
    ToHost,
)
from paintmq.worker.machine.commands import Command, SendToBroker, SendToHost
from paintmq.worker.machine.machine import WorkerMachine
from paintmq.worker.machine.profile import WorkerProfile

T = TypeVar("T")

OUTPUT = PayloadInfo(name="image", size=8 * 1024 * 1024, digest="", kind="array")


def key_of(number: int, attempt: int = 1) -> Key:
    return TaskId(f"{number:032x}"), Fence(7, attempt)


def make_spec(name: str, **changes: Any) -> ModelSpec:
    settings = {"stall_limit": 20.0, "load_limit": 30.0, "resident_mb": 100, "max_batch": 4}
    return ModelSpec(name=name, implementation="nowhere:Model", **{**settings, **changes})


@define
class Bench:
    """Drives a machine: time stands still unless ``at`` moves it; every command is kept."""

    machine: WorkerMachine
    now: float = 100.0
    commands: list[Command] = field(factory=list[Command])
    connections: int = 0

    def did(self, commands: list[Command]) -> list[Command]:
        self.commands += commands
        return commands

    def connect(self) -> list[Command]:
        self.connections += 1
        peer = PeerId(b"peer%d" % self.connections)
        return self.did(self.machine.connected(peer, now=self.now))

    def hear(self, message: ToWorker) -> list[Command]:
        return self.did(self.machine.receive(message, now=self.now))

    def welcome(self) -> list[Command]:
        self.connect()
        return self.hear(WorkerWelcome(incarnation=7, heartbeat=5.0, lease=30.0))

    def assign(self, *numbers: int, model: str = "alpha", run_limit: float = 60.0) -> list[Command]:
        items = tuple(
            Assignment(
                task=TaskRequest(id=key_of(number)[0], task_type="inpaint", model=model),
                fence=key_of(number)[1],
                run_limit=run_limit,
            )
            for number in numbers
        )
        return self.hear(Assign(items))

    def host(self, message: FromHost) -> list[Command]:
        return self.did(self.machine.receive_from_host(message, now=self.now))

    def ready(self, *models: str) -> list[Command]:
        """Let the host come up, and load what it is asked for."""
        commands = self.host(HostReady())
        for model in models:
            assert Load(model) in self.orders(commands)
            commands = self.host(HostLoaded(model=model, seconds=1.0, memory_mb=100))
        return commands

    def begin(self, batch: int) -> list[Command]:
        return self.host(BatchBegun(batch))

    def end(self, *numbers: int, batch: int = 1, **changes: Any) -> list[Command]:
        outcomes = tuple(outcome(number, **changes) for number in numbers)
        return self.host(AttemptsEnded(batch=batch, outcomes=outcomes))

    def end_with_memory(self, number: int, memory_mb: int) -> list[Command]:
        message = AttemptsEnded(batch=number, outcomes=(outcome(number),), memory_mb=memory_mb)
        return self.host(message)

    def exit(
        self, detail: str = "was killed by SIGSEGV", *lines: str, marked: int = 0
    ) -> list[Command]:
        exited = self.machine.host_exited(detail, lines=lines, marked=marked, now=self.now)
        return self.did(exited)

    def at(self, now: float, *, marked: int = 0) -> list[Command]:
        self.now = now
        return self.did(self.machine.tick(marked=marked, now=now))

    def until_deadline(self, *, marked: int = 0) -> list[Command]:
        deadline = self.machine.next_deadline()
        assert deadline is not None
        return self.at(deadline, marked=marked)

    def said(self, commands: list[Command] | None = None) -> list[FromWorker]:
        chosen = self.commands if commands is None else commands
        return [each.message for each in chosen if isinstance(each, SendToBroker)]

    def said_of(self, kind: type[T], commands: list[Command] | None = None) -> list[T]:
        return [message for message in self.said(commands) if isinstance(message, kind)]

    def orders(self, commands: list[Command] | None = None) -> list[ToHost]:
        chosen = self.commands if commands is None else commands
        return [each.message for each in chosen if isinstance(each, SendToHost)]

    def runs(self, commands: list[Command] | None = None) -> list[list[TaskId]]:
        return [
            [item.task_id for item in order.items]
            for order in self.orders(commands)
            if isinstance(order, Run)
        ]


def outcome(number: int, *, error: str = "", cancelled: bool = False) -> Outcome:
    task_id, fence = key_of(number)
    if cancelled:
        return Outcome(task_id=task_id, fence=fence, ending="cancelled")
    if error:
        failure = TaskError(code=error, message=error, retryable=True)
        return Outcome(task_id=task_id, fence=fence, ending="failed", error=failure, ran=0.5)
    return Outcome(task_id=task_id, fence=fence, ending="succeeded", outputs=(OUTPUT,), ran=0.5)


SPECS: Mapping[str, ModelSpec] = {
    name: make_spec(name) for name in ("alpha", "beta", "gamma", "delta")
}


def make_bench(**changes: Any) -> Bench:
    settings: dict[str, Any] = {
        "name": "node/cpu-0",
        "node": "node",
        "queue": "cpu-light",
        "models": ("alpha", "beta", "gamma"),
        "unavailable": {"delta": "it needs torch"},
        "memory_mb": 1000,
        "budget_mb": 250,
    }
    return Bench(WorkerMachine(WorkerProfile(**(settings | changes)), SPECS))


def abandon(number: int, grace: float = 5.0) -> Abandon:
    task_id, fence = key_of(number)
    return Abandon(task_id=task_id, fence=fence, grace=grace)


def returned(number: int, *, cancelled: bool = True) -> AttemptReturned:
    task_id, fence = key_of(number)
    return AttemptReturned(task_id=task_id, fence=fence, cancelled=cancelled)
