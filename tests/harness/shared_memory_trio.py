"""A client, a broker and a worker that have memory in common, without sockets: for tests."""

from collections.abc import Sequence

from attrs import define, evolve, field

from paintmq.shared_memory.broker_arenas import Arenas, ClientEnd, WorkerEnd
from paintmq.shared_memory.client_arena import ClientArena
from paintmq.shared_memory.worker_arenas import WorkerArenas
from paintmq.task import Buffer, Fence, TaskId, TaskRequest, TaskState
from paintmq.testing.example_tasks import describe
from paintmq.wire.link import Delivery, Link
from paintmq.wire.messages import Assign, Assignment, AttemptSucceeded, Finished, Submit
from tests.harness.link_pair import TASK, talk

FENCE = Fence(5, 1)


@define(eq=False)
class Connection:
    """Both ends of one connection between a peer and a broker."""

    peer: Link
    broker: Link

    def to_broker(self) -> list[Delivery]:
        return talk(self.peer, self.broker)[1]

    def to_peer(self) -> list[Delivery]:
        return talk(self.peer, self.broker)[0]


@define(eq=False)
class ClientConnection(Connection):
    arena: ClientArena
    end: ClientEnd

    def put(self, content: bytes) -> Buffer:
        placed = self.arena.put(memoryview(content))
        assert placed is not None
        return placed.payload

    def submit(self, content: bytes, task_id: TaskId = TASK) -> Delivery:
        """Submit a task with this input in the arena; return what the broker is told."""
        self.peer.send(Submit(request_of(content, task_id)), [self.put(content)])
        [delivery] = self.to_broker()
        return delivery

    def finish(self, payloads: Sequence[Buffer], task_id: TaskId = TASK) -> Delivery:
        """Have the broker tell of a result; return what the client is told."""
        self.broker.send(finished(payloads, task_id), payloads)
        [delivery] = self.to_peer()
        return delivery


@define(eq=False)
class WorkerConnection(Connection):
    arenas: WorkerArenas
    end: WorkerEnd

    def assign(self, submitted: Delivery, fence: Fence = FENCE) -> Delivery:
        assert isinstance(submitted.message, Submit)
        item = Assignment(task=submitted.message.task, fence=fence, run_limit=60.0)
        self.broker.send(Assign((item,)), submitted.payloads)
        [delivery] = self.to_peer()
        return delivery

    def succeed(
        self, payloads: Sequence[Buffer], task_id: TaskId = TASK, fence: Fence = FENCE
    ) -> Delivery:
        self.peer.send(succeeded(payloads, task_id, fence), payloads)
        [delivery] = self.to_broker()
        return delivery


@define(eq=False)
class Trio:
    """One broker; any number of clients and workers."""

    arenas: Arenas = field(factory=lambda: Arenas.make(enabled=True))

    def client(self) -> ClientConnection:
        end = self.arenas.client_end()
        assert end is not None
        arena = ClientArena()
        connection = ClientConnection(Link(), Link(), arena, end)
        connection.peer.sharing, connection.broker.sharing = arena, end
        connection.broker.share(end.greeting())
        assert talk(connection.peer, connection.broker) == ([], [])
        return connection

    def worker(self) -> WorkerConnection:
        end = self.arenas.worker_end()
        assert end is not None
        arenas = WorkerArenas()
        connection = WorkerConnection(Link(), Link(), arenas, end)
        connection.peer.sharing, connection.broker.sharing = arenas, end
        connection.broker.share(end.greeting())
        assert talk(connection.peer, connection.broker) == ([], [])
        return connection


def request_of(content: Buffer, task_id: TaskId = TASK) -> TaskRequest:
    inputs = (evolve(describe("image", bytes(content)), width=256, height=256),)
    return TaskRequest(id=task_id, task_type="inpaint", model="lama", inputs=inputs)


def finished(payloads: Sequence[Buffer], task_id: TaskId = TASK) -> Finished:
    outputs = tuple(describe(f"output{n}", bytes(each)) for n, each in enumerate(payloads))
    return Finished(task_id=task_id, state=TaskState.SUCCEEDED, outputs=outputs)


def succeeded(
    payloads: Sequence[Buffer], task_id: TaskId = TASK, fence: Fence = FENCE
) -> AttemptSucceeded:
    outputs = tuple(describe(f"output{n}", bytes(each)) for n, each in enumerate(payloads))
    return AttemptSucceeded(task_id=task_id, fence=fence, outputs=outputs, ran=0.1)
