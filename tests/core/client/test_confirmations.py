"""Confirmations of results: with the next message, or soon by themselves."""

import socket
from collections.abc import Iterator

import pytest
import zmq

from paintmq.client import connection as module
from paintmq.client.connection import CONFIRM_AFTER, Connection
from paintmq.task import TaskId
from paintmq.transport.sockets import Socket, new_context, router
from paintmq.wire.link import COALESCED_ITEMS, Link
from paintmq.wire.messages import Heartbeat, Message, ResultReceived


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Line:
    """A connection of a client, and what comes out at the other end."""

    def __init__(self, connection: Connection, port: Socket, clock: Clock) -> None:
        self.connection, self.clock = connection, clock
        self._port, self._link = port, Link()

    def confirm(self, *numbers: int) -> None:
        for number in numbers:
            self.connection.send(ResultReceived(TaskId(f"{number:032x}")))
        self.connection.send_what_may_go()

    def one_message(self) -> list[Message]:
        """Return what the next ZeroMQ message holds."""
        while not self._port.poll(5):  # until it is connected, and the socket takes it
            self.connection.send_what_may_go()
        _, *frames = self._port.recv_multipart()
        return [delivery.message for delivery in self._link.receive(frames)]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    context = new_context()
    port = router(context)
    port.bind("tcp://127.0.0.1:*")
    endpoint = port.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    connection = Connection(context, endpoint.rstrip(b"\0").decode())
    yield Line(connection, port, clock)
    connection.close()
    port.close()
    context.term()


def received(*numbers: int) -> list[ResultReceived]:
    return [ResultReceived(TaskId(f"{number:032x}")) for number in numbers]


def test_a_confirmation_goes_with_the_next_message(line: Line) -> None:
    line.confirm(1)
    line.connection.send(Heartbeat())
    line.connection.send_what_may_go()

    assert line.one_message() == [Heartbeat(), *received(1)]


def test_it_does_not_wait_long_for_one(line: Line) -> None:
    line.confirm(1)
    line.clock.now += CONFIRM_AFTER / 2
    line.confirm(2)
    line.clock.now += CONFIRM_AFTER / 2
    line.connection.send_what_may_go()

    assert line.one_message() == received(1, 2)


def test_as_many_as_one_message_should_hold_do_not_wait(line: Line) -> None:
    line.confirm(*range(COALESCED_ITEMS))

    assert line.one_message() == received(*range(COALESCED_ITEMS))


def test_none_is_kept_back_when_the_client_leaves(line: Line) -> None:
    line.confirm(1)
    line.connection.flush(1.0)

    assert line.one_message() == received(1)


def test_a_wait_ends_when_a_confirmation_has_waited_long_enough(line: Line) -> None:
    read, write = socket.socketpair()
    with read, write:
        line.confirm(1)
        line.clock.now += CONFIRM_AFTER

        assert not line.connection.wait(read.fileno(), 3600.0)
