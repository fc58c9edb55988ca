"""The pipes of the ``pushpull`` transport, over real sockets."""

from collections import deque
from collections.abc import Iterator

import pytest
import zmq
from tests.harness.message_strategies import payload_infos

from paintmq.errors import ConfigError
from paintmq.identifiers import new_peer_id
from paintmq.task import Buffer, Fence, PeerId, TaskId, TaskRequest
from paintmq.transport.pipes import BrokerPipes, WorkerConnection, send_waiting
from paintmq.transport.sockets import Context, Socket, bind, new_context, pull, push, router
from paintmq.wire.link import Delivery, Link
from paintmq.wire.messages import (
    Assign,
    Assignment,
    AttemptStarted,
    AttemptSucceeded,
    Message,
    payloads_of,
)

AMPLE = 10_000
"""Milliseconds; nothing waits that long unless it is broken."""
TASK = TaskId("0123456789abcdef" * 2)
FENCE = Fence(1, 1)
BIG = 3_000_000


def assign(size: int = 3) -> Assign:
    task = TaskRequest(id=TASK, task_type="inpaint", model="lama", inputs=payload_infos([size]))
    return Assign((Assignment(task=task, fence=FENCE, run_limit=1.0),))


def succeeded(size: int = 3) -> AttemptSucceeded:
    return AttemptSucceeded(task_id=TASK, fence=FENCE, outputs=payload_infos([size]), ran=0.1)


def frames_of(message: Message) -> list[bytes | bytearray | memoryview]:
    link = Link(work_apart=True)
    link.send(message, [bytes(info.size) for info in payloads_of(message)])
    return link.outgoing()[0]


class Queue:
    """A broker's sockets for one queue, and a worker that has connected to all of them."""

    def __init__(self, context: Context) -> None:
        self.control = router(context)
        endpoint = bind(self.control, "127.0.0.1", 0, purpose="queue 'gpu'")
        self.pipes = BrokerPipes(context, "127.0.0.1", queue="gpu")
        self.peer = new_peer_id()
        self.worker = WorkerConnection(context, endpoint, self.peer)
        self.welcome(self.pipes)
        for socket in self.worker.sockets[::2]:
            assert socket.poll(AMPLE, zmq.POLLOUT)

    def welcome(self, pipes: BrokerPipes, *, incarnation: int = 1) -> None:
        """Have the worker open the pipes that this broker names."""
        self.worker.open_pipes(pipes.open(self.peer), pipes.results_port, incarnation=incarnation)

    def close(self) -> None:
        self.worker.close()
        self.pipes.close()
        self.control.close()

    def told(self) -> list[bytes]:
        """Return what the worker gets next."""
        while (frames := self.worker.receive()) is None:
            assert zmq.select(list(self.worker.sockets), [], [], AMPLE / 1000)[0]
        return [bytes(frame) for frame in frames]


@pytest.fixture
def context() -> Iterator[Context]:
    with new_context() as context:
        yield context


@pytest.fixture
def queue(context: Context) -> Iterator[Queue]:
    queue = Queue(context)
    yield queue
    queue.close()


def eventually_sent(queue: Queue, frames: list[bytes | bytearray | memoryview]) -> None:
    pipe = queue.pipes._pipes[queue.peer]
    while not queue.pipes.send(queue.peer, frames):
        assert pipe.poll(AMPLE, zmq.POLLOUT)


def test_a_task_comes_by_the_worker_s_own_pipe(queue: Queue) -> None:
    frames = frames_of(assign())

    assert queue.pipes.carries(queue.peer, frames)
    eventually_sent(queue, frames)

    assert queue.told() == frames


def test_a_result_comes_back_by_the_pipe_for_results(queue: Queue) -> None:
    frames = frames_of(succeeded())

    assert queue.worker.send(frames)

    assert queue.pipes.results.poll(AMPLE)
    received = queue.pipes.receive()
    assert received is not None
    assert (received[0], [frame.bytes for frame in received[1]]) == (queue.peer, frames)
    assert not queue.control.poll(0)


def test_control_stays_on_the_connection(queue: Queue) -> None:
    frames = frames_of(AttemptStarted(task_id=TASK, fence=FENCE))

    assert not queue.pipes.carries(queue.peer, frames)
    assert queue.worker.send(frames)

    assert queue.control.poll(AMPLE)
    assert queue.control.recv_multipart() == [queue.peer, *frames]
    queue.control.send_multipart([queue.peer, *frames])
    assert queue.told() == frames


def test_big_payloads_come_whole_while_credits_take_the_other_way(queue: Queue) -> None:
    broker, worker = Link(work_apart=True), Link(work_apart=True)
    payload = bytes(range(256)) * (20_000_000 // 256)
    message = assign(len(payload))
    broker.send(message, [payload])
    delivered: list[Delivery] = []

    while not delivered:
        for frames in broker.outgoing():
            eventually_sent(queue, frames)
        delivered = worker.receive(queue.told())
        for frames in worker.outgoing():
            assert not queue.pipes.carries(queue.peer, frames)
            assert queue.worker.send(frames)
            assert queue.control.poll(AMPLE)
            broker.receive(queue.control.recv_multipart()[1:])

    assert delivered[0].message == message
    assert bytes(delivered[0].payloads[0]) == payload


def test_a_pipe_nobody_has_connected_to_takes_nothing(context: Context, queue: Queue) -> None:
    other = new_peer_id()
    queue.pipes.open(other)

    assert not queue.pipes.send(other, frames_of(assign()))


def test_a_pipe_is_opened_once(queue: Queue) -> None:
    assert queue.pipes.open(queue.peer) == queue.pipes.open(queue.peer)
    before = queue.worker.sockets
    queue.welcome(queue.pipes)
    assert queue.worker.sockets == before


def test_pipes_of_another_incarnation_replace_those_of_the_one_before(
    context: Context, queue: Queue
) -> None:
    """A broker that was killed and is back has other ports: tasks and results go by those."""
    control, *pipes = queue.worker.sockets
    queue.pipes.close()
    queue.pipes = BrokerPipes(context, "127.0.0.1", queue="gpu")

    queue.welcome(queue.pipes, incarnation=2)

    assert all(pipe.closed for pipe in pipes)
    assert queue.worker.sockets[0] is control
    eventually_sent(queue, frames_of(assign()))
    assert queue.told() == frames_of(assign())


def test_a_broker_that_has_the_ports_of_the_one_before_gets_nothing_that_was_meant_for_that(
    queue: Queue,
) -> None:
    before = queue.worker.sockets[1:]

    queue.welcome(queue.pipes, incarnation=2)

    assert all(pipe.closed for pipe in before)


def test_a_result_under_an_unknown_id_is_dropped(context: Context, queue: Queue) -> None:
    with push(context, connects=True) as stranger:
        stranger.connect(f"tcp://127.0.0.1:{queue.pipes.results_port}")
        assert stranger.poll(AMPLE, zmq.POLLOUT)
        stranger.send_multipart([PeerId(b"guessed"), *frames_of(succeeded())])
        stranger.send_multipart([queue.peer])
        assert queue.pipes.results.poll(AMPLE)
        stranger.send_multipart([queue.peer, b"the end"])
        while (received := queue.pipes.receive()) is None:
            assert queue.pipes.results.poll(AMPLE)

    assert [frame.bytes for frame in received[1]] == [b"the end"]


def test_a_worker_that_left_is_noticed_when_it_is_sent_something(queue: Queue) -> None:
    assert not queue.pipes.was_used(queue.peer)
    eventually_sent(queue, frames_of(assign()))
    assert queue.pipes.was_used(queue.peer)

    queue.worker.close()

    while queue.pipes.send(queue.peer, frames_of(assign())):
        pass  # until ZeroMQ has taken note
    assert queue.pipes.was_used(queue.peer)


def test_a_closed_pipe_carries_nothing(queue: Queue) -> None:
    queue.pipes.close_pipe(queue.peer)
    queue.pipes.close_pipe(queue.peer)

    assert not queue.pipes.carries(queue.peer, frames_of(assign()))


def test_the_dead_do_not_get_the_tasks_of_the_living(context: Context, queue: Queue) -> None:
    """Measured: a PUSH shared by workers gave half of all tasks to one that was stopped."""
    other = WorkerConnection(context, "tcp://127.0.0.1:1", new_peer_id())
    peer = new_peer_id()
    other.open_pipes(queue.pipes.open(peer), queue.pipes.results_port, incarnation=1)

    for _ in range(20):
        eventually_sent(queue, frames_of(assign()))

    assert [queue.told() for _ in range(20)] == [frames_of(assign())] * 20
    other.close()


def test_an_address_that_cannot_be_bound_is_refused_and_nothing_stays_open(
    context: Context,
) -> None:
    with pytest.raises(ConfigError, match="results of queue 'gpu'"):
        BrokerPipes(context, "192.0.2.1", queue="gpu")


def test_a_pipe_that_cannot_be_bound_is_refused_and_does_not_stay_open(
    context: Context, queue: Queue
) -> None:
    queue.pipes._host = "192.0.2.1"

    with pytest.raises(ConfigError, match="tasks of queue 'gpu'"):
        queue.pipes.open(new_peer_id())


def test_both_ends_take_frames_of_limited_size(context: Context) -> None:
    ends: list[Socket] = [push(context, connects=False), pull(context, connects=True)]

    for socket in ends:
        with socket:
            assert socket.getsockopt(zmq.MAXMSGSIZE) == 2 * 1024 * 1024


def test_a_pipe_that_takes_nothing_holds_up_nothing_else() -> None:
    waiting: deque[list[Buffer]] = deque([[b"task 1"], [b"beat 1"], [b"task 2"], [b"beat 2"]])
    sent: list[bytes] = []

    def send(frames: list[Buffer]) -> bool:
        if frames[0] == b"task 2":
            raise AssertionError("overtook task 1")
        if frames[0] == b"task 1":
            return False
        sent.append(bytes(frames[0]))
        return True

    send_waiting(waiting, send, lambda frames: bytes(frames[0]).startswith(b"task"))

    assert sent == [b"beat 1", b"beat 2"]
    assert list(waiting) == [[b"task 1"], [b"task 2"]]


def test_only_the_way_that_is_blocked_is_polled_for_room(queue: Queue) -> None:
    control, tasks, results = queue.worker.sockets

    assert queue.worker.watched({True}) == [(control, False), (tasks, False), (results, True)]
    assert queue.worker.watched({False}) == [(control, True), (tasks, False), (results, False)]


def test_before_its_welcome_a_worker_has_one_socket(context: Context) -> None:
    worker = WorkerConnection(context, "tcp://127.0.0.1:1", new_peer_id())

    assert worker.watched(set()) == [(worker.sockets[0], False)]
    assert not worker.carries(frames_of(succeeded()))
    assert not worker.send(frames_of(succeeded()))
    worker.close()
