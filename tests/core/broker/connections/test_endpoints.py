"""The broker's listening sockets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from paintmq.broker.connections.access import AccessControl
from paintmq.broker.connections.endpoints import PushPullEndpoint, client_endpoint, queue_endpoint
from paintmq.broker.connections.peers import UnreachableError
from paintmq.config import BrokerConfig, QueueConfig
from paintmq.identifiers import new_peer_id
from paintmq.task import Buffer, Fence, TaskId, TaskRequest
from paintmq.transport.curve import Authenticator, KeyRing, secure_with
from paintmq.transport.key_files import add_key, init_keys, load_peer_key
from paintmq.transport.key_terms import KeyTerms
from paintmq.transport.pipes import WorkerConnection
from paintmq.transport.sockets import Context, dealer, new_context
from paintmq.wire.link import Link
from paintmq.wire.messages import (
    Assign,
    Assignment,
    AttemptSucceeded,
    BrokerHeartbeat,
    Heartbeat,
    Message,
    WorkerWelcome,
)

AMPLE = 10_000
"""Milliseconds; nothing waits that long unless it is broken."""
NOW = 1_800_000_000.0
TASK = TaskRequest(id=TaskId("0" * 31 + "1"), task_type="plugin", model="toy")
ASSIGN = Assign((Assignment(task=TASK, fence=Fence(1, 1), run_limit=1.0),))


def frames_of(message: Message) -> list[Buffer]:
    link = Link(work_apart=True)
    link.send(message)
    return link.outgoing()[0]


class PipedWorker:
    """An endpoint with pipes, and a worker that was welcomed there."""

    def __init__(self, context: Context) -> None:
        self.endpoint = queue_endpoint(
            context,
            BrokerConfig(),
            "gpu",
            QueueConfig(transport="pushpull"),
            AccessControl(BrokerConfig(), ()),
        )
        self.peer = new_peer_id()
        self.connection = WorkerConnection(context, self.endpoint.address, self.peer)
        welcome = self.endpoint.stamped(
            self.peer, WorkerWelcome(incarnation=1, heartbeat=5.0, lease=30.0)
        )
        assert isinstance(welcome, WorkerWelcome)
        assert isinstance(self.endpoint, PushPullEndpoint)
        self.connection.open_pipes(
            welcome.tasks_port, welcome.results_port, incarnation=welcome.incarnation
        )
        self.control, self.tasks, self.results = self.connection.sockets
        self.tell(Heartbeat())
        self.heard()

    def tell(self, message: Message) -> None:
        frames = frames_of(message)
        socket = self.results if self.connection.carries(frames) else self.control
        assert socket.poll(AMPLE, zmq.POLLOUT)
        assert self.connection.send(frames)

    def heard(self) -> tuple[bytes, list[bytes]]:
        while (received := self.endpoint.receive()) is None:
            assert zmq.select(list(self.endpoint.sockets), [], [], AMPLE / 1000)[0]
        return received[0], [bytes(frame) for frame in received[1]]


@pytest.fixture
def worker() -> Iterator[PipedWorker]:
    with new_context() as context:
        worker = PipedWorker(context)
        yield worker
        worker.connection.close()
        worker.endpoint.close()


def send(worker: PipedWorker, message: Message) -> None:
    while not worker.endpoint.send(worker.peer, frames_of(message)):
        pass


def send_for_ever(worker: PipedWorker, message: Message) -> None:
    while True:
        send(worker, message)


def test_tasks_go_by_pipe_and_the_rest_by_the_connection(worker: PipedWorker) -> None:
    send(worker, ASSIGN)
    send(worker, BrokerHeartbeat())

    assert worker.tasks.poll(AMPLE)
    assert worker.tasks.recv_multipart() == frames_of(ASSIGN)
    assert worker.control.poll(AMPLE)
    assert worker.control.recv_multipart() == frames_of(BrokerHeartbeat())


def test_results_by_pipe_are_those_of_their_connection(worker: PipedWorker) -> None:
    result = AttemptSucceeded(task_id=TASK.id, fence=Fence(1, 1), outputs=(), ran=0.1)

    worker.tell(result)

    assert worker.heard() == (worker.peer, frames_of(result))


def test_a_worker_that_left_its_pipe_is_gone(worker: PipedWorker) -> None:
    send(worker, ASSIGN)
    worker.connection.close()

    with pytest.raises(UnreachableError):
        send_for_ever(worker, ASSIGN)


def test_a_forgotten_peer_has_no_pipe(worker: PipedWorker) -> None:
    assert worker.endpoint.by_pipe(worker.peer, frames_of(ASSIGN))

    worker.endpoint.forget_peer(worker.peer)

    assert not worker.endpoint.by_pipe(worker.peer, frames_of(ASSIGN))


class KeyedClient:
    """A port that asks for keys, a client that has one, and a time that is set by hand."""

    def __init__(self, context: Context, folder: Path, terms: KeyTerms) -> None:
        self.time = NOW
        self.folder = folder
        init_keys(folder)
        key = load_peer_key(add_key(folder, "alice", "client", terms))
        self.ring = KeyRing(folder, wall=lambda: int(self.time * 1e9))
        access = AccessControl(BrokerConfig(), ())
        access.ring = self.ring
        self.authenticator = Authenticator(context, self.ring)
        self.authenticator.start()
        self.endpoint = client_endpoint(
            context, BrokerConfig(port=0), f"inproc://{folder.name}", access
        )
        self.peer = new_peer_id()
        self.socket = dealer(context, self.peer)
        secure_with(self.socket, key)
        self.socket.connect(self.endpoint.address)

    def is_heard(self) -> bool:
        """Return whether the endpoint takes what the client says."""
        self.socket.send(b"words")
        assert self.endpoint.socket.poll(AMPLE)
        return self.endpoint.receive() is not None


@contextmanager
def keyed(folder: Path, **terms: Any) -> Iterator[KeyedClient]:
    with new_context() as context:
        client = KeyedClient(context, folder / "keys", KeyTerms(**terms))
        yield client
        client.socket.close(linger=0)
        client.endpoint.close()
        client.authenticator.stop()


def test_the_passing_of_time_alone_ends_what_a_key_is_good_for(tmp_path: Path) -> None:
    with keyed(tmp_path, not_after=NOW + 5) as alice:
        assert alice.is_heard()
        assert alice.endpoint.changed_keys() == []
        alice.time = NOW + 4.9
        assert alice.is_heard()
        assert alice.endpoint.changed_keys() == []

        alice.time = NOW + 5
        assert not alice.is_heard()
        refusal = "the key 'alice' expired on 2027-01-15 08:00:05 UTC"
        assert alice.endpoint.changed_keys() == [(alice.peer, refusal)]
        assert alice.endpoint.changed_keys() == [], "said once"


def test_a_session_goes_by_the_terms_on_which_it_began_until_it_begins_anew(
    tmp_path: Path,
) -> None:
    with keyed(tmp_path, queues=("a",)) as alice:
        assert alice.is_heard()
        assert alice.endpoint.credentials_of(alice.peer).queues == ("a",)

        path = alice.folder / "allowed.json"
        path.write_text(path.read_text().replace('"a"', '"b"'))
        alice.ring.reload()
        assert alice.is_heard()
        assert alice.endpoint.credentials_of(alice.peer).queues == ("a",)
        assert alice.endpoint.changed_keys() == [(alice.peer, "")]
        alice.endpoint.forget_peer(alice.peer)
        assert alice.is_heard()
        assert alice.endpoint.credentials_of(alice.peer).queues == ("b",)


def test_where_no_keys_are_asked_for_everybody_may_do_everything(worker: PipedWorker) -> None:
    assert worker.endpoint.role_of(worker.peer) == "admin"
