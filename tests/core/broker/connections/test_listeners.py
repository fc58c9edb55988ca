"""Which ports are to be read, who is let in, and when connections are looked at."""

import time
from collections.abc import Iterator

import pytest
from tests.harness.raw_peer import GREETING, READY, RawPeer, frame

from paintmq.broker.connections.endpoints import RouterEndpoint
from paintmq.broker.connections.listeners import (
    INSPECTION_SECONDS,
    NEXT_INSPECTION_SECONDS,
    Listeners,
)
from paintmq.statistics import ShellStatistics
from paintmq.transport.connection_throttle import SHARE, ConnectionThrottle
from paintmq.transport.multipart import FRAME_SECONDS
from paintmq.transport.sockets import new_context, router

MIB = 1024 * 1024


class House:
    """Two ports, a gate, and somebody in front of it."""

    def __init__(self, ports: list[RouterEndpoint], gate: ConnectionThrottle) -> None:
        self.ports = ports
        self.gate = gate
        self.statistics = ShellStatistics()
        self.listeners = Listeners(ports, gate, self.statistics)

    def knock(self) -> RawPeer:
        peer = RawPeer(self.ports[0].address)
        peer.say(GREETING)
        peer.read(len(GREETING))
        peer.say(READY)
        assert self.gate.socket.poll(20_000)
        return peer


@pytest.fixture
def house() -> Iterator[House]:
    with new_context() as context:
        gate = ConnectionThrottle(context)
        ports = [
            RouterEndpoint(name, router(context), is_queue=False, gate=gate)
            for name in ("clients", "queue")
        ]
        for port in ports:
            port.bind("127.0.0.1", 0)
        yield House(ports, gate)
        for port in ports:
            port.close()
        gate.close()


def test_all_ports_and_the_gate_are_polled(house: House) -> None:
    sockets = [*(port.socket for port in house.ports), house.gate.socket]

    assert list(house.listeners.sockets()) == sockets


def test_what_was_left_unread_is_read_in_the_next_turn_and_not_waited_for(house: House) -> None:
    first, second = house.ports
    assert house.listeners.to_read({second.socket: 1}) == [second]
    house.listeners.mark_unread(second)

    assert house.listeners.wait(now=0.0) == 0.0
    assert house.listeners.to_read({first.socket: 1}) == [first, second]
    assert house.listeners.to_read({}) == []


def test_connections_are_looked_at_again_sooner_while_somebody_is_behind(house: House) -> None:
    house.listeners.inspect_connections(now=0.0)
    assert house.listeners.wait(now=0.0) == INSPECTION_SECONDS
    assert not house.listeners.is_inspection_due(now=INSPECTION_SECONDS / 2)
    assert house.listeners.is_inspection_due(now=INSPECTION_SECONDS)

    with house.knock() as peer:
        house.listeners.let_in(now=0.0)
        peer.read(len(READY))
        peer.say(frame(bytes(MIB), more=True) * 2)
        ends = time.monotonic() + 20
        while house.listeners.wait(now=0.0) == INSPECTION_SECONDS and time.monotonic() < ends:
            house.listeners.inspect_connections(now=0.0)

    assert house.listeners.wait(now=0.0) == NEXT_INSPECTION_SECONDS


def test_who_comes_after_frames_that_made_no_sense_waits_for_longer(house: House) -> None:
    """I19."""
    house.listeners.inspect_connections(now=0.0)
    with house.knock() as peer:
        house.listeners.charge_useless(1_000)
        house.listeners.let_in(now=0.0)
        opens = 1_000 * FRAME_SECONDS * (1 / SHARE - 1)
        assert len(house.gate) == 1
        assert house.listeners.wait(now=0.0) == pytest.approx(opens)

        house.listeners.let_in(now=opens)

        assert peer.read(len(READY)).startswith(READY[:8])
        assert house.listeners.wait(now=0.0) == INSPECTION_SECONDS


def test_when_one_is_cut_for_too_many_frames_all_are_looked_at(house: House) -> None:
    """I14: others may be doing the same."""
    with house.knock() as peer:
        house.listeners.let_in(now=0.0)
        peer.read(len(READY))
        peer.say(frame(b"hello"))
        assert house.ports[0].socket.poll(20_000)
        assert house.ports[0].receive() is not None
        house.listeners.inspect_connections(now=0.0)
        assert not house.listeners.is_inspection_due(now=0.01)

        house.listeners.hang_up(house.ports[0], now=0.01)

        assert house.listeners.is_inspection_due(now=0.01)
        with pytest.raises(ConnectionError):
            peer.read(1_000)
