"""Connections that never send a whole message are cut, and no others."""

import errno
import os
import socket as socketlib
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import zmq
from tests.harness.raw_peer import RawPeer, frame

from paintmq.identifiers import new_peer_id
from paintmq.transport.connection_watch import (
    BEHIND,
    MOST_BYTES,
    SILENCE,
    STRANGERS_BYTES_IN_ALL,
    STRANGERS_MOST_BYTES,
    ConnectionWatch,
    hang_up,
)
from paintmq.transport.sockets import Socket, bind, dealer, new_context, router

MIB = 1024 * 1024


class Watched:
    """A listening socket, read as a broker would."""

    def __init__(self, socket: Socket, *, strangers: bool = False) -> None:
        self.watch = ConnectionWatch(socket, strangers=strangers)
        self.endpoint = bind(socket, "127.0.0.1", 0, purpose="clients")
        self.socket = socket
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
        self.watch.inspect(now=self.now, read_empty=read)
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


@pytest.fixture
def strangers() -> Iterator[Watched]:
    with new_context() as context, router(context, strangers=True) as socket:
        watched = Watched(socket, strangers=True)
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
            watch.inspect(now=1e9, read_empty=True)

            assert (len(watch), watch.cut) == (0, 0)
        watch.close()


def test_a_stranger_may_send_less_without_a_whole_message(strangers: Watched) -> None:
    """I14."""
    with RawPeer(strangers.endpoint) as peer:
        peer.shake_hands()
        strangers.wait_for(1)
        for _ in range(2 * STRANGERS_MOST_BYTES // MIB):
            with suppress(ConnectionError):
                peer.say(frame(bytes(MIB), more=True))
            strangers.turn()

        assert hung_up(peer)


def test_strangers_who_send_much_in_all_are_cut_before_one_who_spoke(strangers: Watched) -> None:
    """I14: each of them sends less than one may."""
    each = 900 * 1024
    many = STRANGERS_BYTES_IN_ALL // each + 2
    with ExitStack() as stack:
        spoke = stack.enter_context(RawPeer(strangers.endpoint))
        spoke.shake_hands()
        spoke.say(frame(b"hello"))
        while not strangers.messages:
            strangers.turn(seconds=0.0)
        spoke.say(frame(bytes(each + 100_000), more=True))
        peers = [stack.enter_context(RawPeer(strangers.endpoint)) for _ in range(many)]
        for peer in peers:
            peer.shake_hands()
        for peer in peers[: many // 2]:
            peer.say(frame(bytes(each), more=True))
        for _ in range(5):
            strangers.turn(seconds=BEHIND)
        assert strangers.watch.cut == 0

        for peer in peers[many // 2 :]:
            peer.say(frame(bytes(each), more=True))
        ends = time.monotonic() + 20
        while not strangers.watch.cut and time.monotonic() < ends:
            strangers.turn(seconds=BEHIND)

        assert strangers.watch.offenders == strangers.watch.cut
        assert many - 4 <= strangers.watch.cut <= many
        spoke.say(frame(b"the rest"))
        assert strangers.socket.poll(20_000)
        assert strangers.turn() == 1


def test_the_sender_of_a_message_is_cut_by_it(strangers: Watched) -> None:
    with RawPeer(strangers.endpoint) as peer:
        peer.shake_hands()
        peer.say(frame(b"hello"))
        assert strangers.socket.poll(20_000)
        first = strangers.socket.recv_multipart(copy=False)[0]

        strangers.watch.cut_sender(first, now=0.0)

        assert strangers.watch.cut == 1
        assert hung_up(peer)


def test_whoever_has_the_descriptor_of_one_who_left_is_not_cut_for_it(strangers: Watched) -> None:
    with RawPeer(strangers.endpoint) as offender:
        offender.shake_hands()
        strangers.wait_for(1)
        offender.say(frame(b"hello"))
        assert strangers.socket.poll(20_000)
        first = strangers.socket.recv_multipart(copy=False)[0]
    descriptor = first.get(zmq.MessageOption.SRCFD)
    wait_until_closed(descriptor)

    with RawPeer(strangers.endpoint) as other:
        other.shake_hands()
        os.fstat(descriptor)  # it has the same

        strangers.watch.cut_sender(first)

        assert strangers.watch.cut == 0
        other.say(frame(b"hello"))
        assert strangers.socket.poll(20_000)


def wait_until_closed(descriptor: object) -> None:
    ends = time.monotonic() + 20
    assert isinstance(descriptor, int)
    while time.monotonic() < ends:
        try:
            os.fstat(descriptor)
        except OSError:
            return
    raise AssertionError("ZeroMQ does not close it")


def test_who_hangs_up_leaves_nothing_to_be_read() -> None:
    """I14: ZeroMQ would go on reading what the kernel holds; it is half a megabyte a connection."""
    with (
        socketlib.create_server(("127.0.0.1", 0)) as listening,
        socketlib.create_connection(listening.getsockname()) as peer,
        listening.accept()[0] as connection,
    ):
        peer.sendall(bytes(100_000))
        assert len(connection.recv(100_000, socketlib.MSG_PEEK | socketlib.MSG_WAITALL)) == 100_000

        with connection.dup() as same:
            hang_up(same)

        assert connection.recv(1) == b""
        assert peer.recv(1) == b""


def test_who_hangs_up_on_one_who_left_leaves_nothing_to_be_read_either() -> None:
    with (
        socketlib.create_server(("127.0.0.1", 0)) as listening,
        socketlib.create_connection(listening.getsockname()) as peer,
        listening.accept()[0] as connection,
    ):
        peer.sendall(bytes(100_000))
        assert len(connection.recv(100_000, socketlib.MSG_PEEK | socketlib.MSG_WAITALL)) == 100_000
        peer.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

        with connection.dup() as same:
            hang_up(same)

        with suppress(ConnectionError):
            assert connection.recv(1) == b""


def test_during_an_attack_nobody_is_given_time_to_finish(strangers: Watched) -> None:
    """I14: whoever sends so many frames may be one of many."""
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(strangers.endpoint)) for _ in range(12)]
        for peer in peers:
            peer.shake_hands()
            peer.say(frame(bytes(MIB), more=True))
        strangers.wait_for(len(peers))

        ends = time.monotonic() + 20
        while not strangers.watch.cut and time.monotonic() < ends:
            strangers.watch.inspect(now=0.0, read_empty=False, is_cutting=True)

        assert strangers.watch.cut > 0


def test_connections_are_watched_and_cut_also_when_no_more_files_can_be_opened(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be these that have used them up."""

    def dup(descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "dup", dup)
    with ExitStack() as stack:
        stack.enter_context(RawPeer(watched.endpoint))
        watched.wait_for(1)
        watched.turn(seconds=SILENCE + 1)

        assert watched.watch.cut == 1
