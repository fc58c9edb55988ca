"""Strangers are let in as fast as there is time for them."""

import select
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import zmq
from tests.harness.raw_peer import GREETING, READY, RawPeer

from paintmq.errors import ConfigError
from paintmq.transport.connection_throttle import AT_ONCE, LONGEST, PACE, SHARE, ConnectionThrottle
from paintmq.transport.sockets import Context, bind, new_context, router


class Guarded:
    """A port with a gate, and strangers who have knocked."""

    def __init__(self, context: Context, stack: ExitStack) -> None:
        self.gate = ConnectionThrottle(context)
        stack.callback(self.gate.close)
        socket = stack.enter_context(router(context))
        self.gate.guard(socket)
        self.endpoint = bind(socket, "127.0.0.1", 0, purpose="clients")
        self._stack = stack
        self.peers: list[RawPeer] = []

    def knock(self, strangers: int) -> None:
        """Have so many come, and wait until they have."""
        wanted = len(self.gate) + strangers
        for _ in range(strangers):
            peer = self._stack.enter_context(RawPeer(self.endpoint))
            self.peers.append(peer)
            peer.say(GREETING)
            peer.read(len(GREETING))
            peer.say(READY)
        while len(self.gate) < wanted:
            assert self.gate.socket.poll(20_000)
            self.gate.let_in(now=-1.0, is_calm=True)  # before it opens: nobody comes in

    def come_in(self, strangers: int) -> None:
        """Wait until so many more are in."""
        for _ in range(strangers):
            ready, _, _ = select.select([peer.socket for peer in self.peers], [], [], 20.0)
            peer = next(peer for peer in self.peers if peer.socket in ready)
            assert peer.read(len(READY)).startswith(READY[:8])
            self.peers.remove(peer)


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with new_context() as context, ExitStack() as stack:
        yield Guarded(context, stack)


def test_nobody_comes_in_before_being_let_in(guarded: Guarded) -> None:
    guarded.knock(1)
    assert guarded.gate.wait(now=0.0) == 0.0

    guarded.gate.let_in(now=0.0, is_calm=True)

    guarded.come_in(1)
    assert guarded.gate.wait(now=0.0) is None


def test_few_are_let_in_at_a_time_and_fewer_while_others_wait_to_be_read(guarded: Guarded) -> None:
    guarded.knock(AT_ONCE + 2)

    guarded.gate.let_in(now=0.0, is_calm=True)
    assert len(guarded.gate) == 2
    guarded.gate.let_in(now=PACE / 2, is_calm=True)
    assert len(guarded.gate) == 2
    guarded.gate.let_in(now=PACE, is_calm=False)
    assert len(guarded.gate) == 1

    guarded.come_in(AT_ONCE + 1)


def test_time_that_strangers_waste_is_waited_for_by_those_who_come(guarded: Guarded) -> None:
    """I19: what makes no sense gets a small share of the loop's time."""
    guarded.knock(1)
    guarded.gate.charge(0.1, now=0.0)
    opens = 0.1 / SHARE - 0.1

    guarded.gate.let_in(now=opens - 0.01, is_calm=True)
    assert len(guarded.gate) == 1
    assert guarded.gate.wait(now=opens - 0.01) == pytest.approx(0.01)
    guarded.gate.let_in(now=opens, is_calm=True)

    guarded.come_in(1)


def test_it_stays_closed_for_no_longer_than_a_handshake_may_take(guarded: Guarded) -> None:
    guarded.knock(1)
    for _ in range(10):
        guarded.gate.charge(10.0, now=0.0)

    guarded.gate.let_in(now=LONGEST, is_calm=True)

    guarded.come_in(1)


def test_a_context_has_one_gate() -> None:
    with new_context() as context:
        gate = ConnectionThrottle(context)
        with pytest.raises(ConfigError, match="handler already"):
            ConnectionThrottle(context)
        gate.close()


def test_who_leaves_while_waiting_is_no_trouble(guarded: Guarded) -> None:
    guarded.knock(1)
    guarded.peers.pop().socket.close()
    guarded.knock(1)

    guarded.gate.let_in(now=0.0, is_calm=True)

    guarded.come_in(1)


def test_peers_of_this_process_do_not_wait() -> None:
    with new_context() as context:
        gate = ConnectionThrottle(context)
        with router(context) as listening, context.socket(zmq.DEALER) as peer:
            gate.guard(listening)
            listening.bind("inproc://here")
            peer.connect("inproc://here")
            peer.send(b"hello")
            assert listening.poll(20_000)
        gate.close()
