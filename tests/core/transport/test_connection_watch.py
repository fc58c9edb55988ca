"""Connections that never send a whole message are cut, and no others."""

import time
from collections.abc import Iterator

import pytest
import zmq

from paintmq.identifiers import new_peer_id
from paintmq.testing.raw_peer import RawPeer, frame
from paintmq.transport.connection_watch import MOST_BYTES, SILENCE, ConnectionWatch
from paintmq.transport.sockets import Socket, bind, dealer, new_context, router

MIB = 1024 * 1024


class Watched:
    """A listening socket, read as a broker would."""

    def __init__(self, socket: Socket) -> None:
        self.endpoint = bind(socket, "127.0.0.1", 0, purpose="clients")
        self.socket = socket
        self.watch = ConnectionWatch(socket)
        self.now = 0.0
        self.messages = 0

    def turn(self, *, seconds: float = 0.1, read: bool = True) -> int:
        """Read what is whole, look at the connections, and return how many messages there were."""
        messages = 0
        while read and self.socket.poll(1):
            self.watch.heard(self.socket.recv_multipart(copy=False)[0])
            messages += 1
        self.messages += messages
        self.now += seconds
        self.watch.look(now=self.now, read_empty=read)
        return messages

    def wait_for(self, connections: int) -> None:
        ends = time.monotonic() + 20
        while len(self.watch) != connections:
            assert time.monotonic() < ends
            self.turn(seconds=0.0)


@pytest.fixture
def watched() -> Iterator[Watched]:
    with new_context() as context, router(context) as socket:
        # What the kernel holds when ZeroMQ has no time to read is not to be taken for too much.
        socket.setsockopt(zmq.RCVBUF, MIB)
        watched = Watched(socket)
        yield watched
        watched.watch.close()


def send_without_end(peer: RawPeer, watched: Watched) -> None:
    for _ in range(1_000):
        peer.say(frame(bytes(MIB), more=True))
        watched.turn()


def hung_up(peer: RawPeer) -> bool:
    """Wait until the other side hangs up."""
    try:
        while peer.socket.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


def test_a_message_that_never_ends_is_cut(watched: Watched) -> None:
    """I14: ZeroMQ would hold all of it."""
    with RawPeer(watched.endpoint) as peer:
        peer.shake_hands()
        watched.wait_for(1)
        with pytest.raises(ConnectionError):
            send_without_end(peer, watched)

    assert watched.watch.cut == 1
    assert len(watched.watch) == 0


def test_whoever_sends_whole_messages_may_send_as_much_as_it_likes(watched: Watched) -> None:
    with new_context() as context, dealer(context, new_peer_id()) as peer:
        peer.connect(watched.endpoint)
        for _ in range(4 * MOST_BYTES // MIB):
            peer.send(bytes(MIB))
            watched.turn(seconds=0.0)
        while watched.messages < 4 * MOST_BYTES // MIB:
            watched.turn(seconds=0.0)

        assert watched.watch.cut == 0


def test_what_waits_to_be_read_is_not_held_against_its_sender(watched: Watched) -> None:
    """A broker that was stopped for a while finds much at once."""
    with new_context() as context, dealer(context, new_peer_id()) as peer:
        peer.connect(watched.endpoint)
        for _ in range(2 * MOST_BYTES // MIB):
            peer.send(bytes(MIB))
        watched.wait_for(1)
        for _ in range(3):
            watched.turn(read=False)

        while watched.messages < 2 * MOST_BYTES // MIB:
            watched.turn(seconds=0.0)
        watched.turn(seconds=60.0)

        assert watched.watch.cut == 0
        assert len(watched.watch) == 1


def test_a_connection_that_says_nothing_is_cut_after_a_while(watched: Watched) -> None:
    """I14: each costs memory and a descriptor."""
    with (
        RawPeer(watched.endpoint) as silent,
        new_context() as context,
        dealer(context, new_peer_id()) as speaking,
    ):
        speaking.connect(watched.endpoint)
        speaking.send(b"hello")
        watched.wait_for(2)
        while not watched.messages:
            watched.turn(seconds=0.0)
        watched.turn(seconds=SILENCE - 1.0)
        assert watched.watch.cut == 0

        watched.turn(seconds=2.0)

        assert watched.watch.cut == 1
        assert hung_up(silent)
        assert len(watched.watch) == 1


def test_connections_that_left_are_forgotten(watched: Watched) -> None:
    with RawPeer(watched.endpoint):
        watched.wait_for(1)

    watched.wait_for(0)
    assert watched.watch.cut == 0


def test_peers_of_this_process_are_not_watched() -> None:
    with new_context() as context, router(context) as listening:
        watch = ConnectionWatch(listening)
        listening.bind("inproc://here")
        with dealer(context, new_peer_id()) as peer:
            peer.connect("inproc://here")
            peer.send(b"hello")
            watch.heard(listening.recv_multipart(copy=False)[0])
            watch.look(now=1e9, read_empty=True)

            assert (len(watch), watch.cut) == (0, 0)
        watch.close()
