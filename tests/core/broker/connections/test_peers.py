"""Connections: how many there may be, and what is kept for one that does not read."""

import pytest
from attrs import define, field

from paintmq.broker.connections import peers as peers_module
from paintmq.broker.connections.outbox import Outgoing, weight_of
from paintmq.broker.connections.peers import (
    ASK_BURST,
    ASK_SHARE,
    FREE_SECONDS,
    MOST_UNSENT,
    Peer,
    PeerTable,
)
from paintmq.broker.machine import NO_KEYS, Credentials, Send
from paintmq.task import Buffer, Json, PeerId
from paintmq.transport.key_files import Role
from paintmq.wire.link import Link
from paintmq.wire.messages import Answer, FromBroker, WhoAreYou

SILENCE = 60.0


@define(eq=False)
class Port:
    """An endpoint whose connections take what they have room for."""

    name: str = "clients"
    is_queue: bool = False
    room: int = 0
    keys: dict[PeerId, str] = field(factory=dict[PeerId, str])

    def send(self, peer: PeerId, frames: list[Buffer]) -> bool:
        self.room -= 1
        return self.room >= 0

    def by_pipe(self, peer: PeerId, frames: list[Buffer]) -> bool:
        return False

    def stamped(self, peer: PeerId, message: FromBroker) -> FromBroker:
        return message

    def role_of(self, peer: PeerId) -> Role:
        return "client"

    def key_of(self, peer: PeerId) -> str:
        return self.keys.get(peer, "")

    def credentials_of(self, peer: PeerId) -> Credentials:
        return NO_KEYS

    def forget_peer(self, peer: PeerId) -> None:
        pass


def table(limit: int = 2, per_key: int = 2) -> PeerTable:
    return PeerTable(limit, per_key, SILENCE, 5.0)


def connect(peers: PeerTable, port: Port, name: bytes, key: str = "") -> Peer | str:
    """Return the connection, or why there is none."""
    peer_id = PeerId(name)
    port.keys[peer_id] = key
    return peers.objection(port, peer_id) or peers.open(peer_id, port, Link(), now=0.0)


def open_one(port: Port) -> tuple[PeerTable, Peer]:
    peers = table()
    peer = connect(peers, port, b"alice")
    assert isinstance(peer, Peer)
    return peers, peer


def answer(number: int, value: Json = None) -> Outgoing:
    return Outgoing(Send(PeerId(b"alice"), Answer(request_id=number, value=value)), ())


def test_clients_never_take_the_place_of_workers() -> None:
    """I14."""
    peers, clients, queue = table(), Port(), Port("cpu", is_queue=True)
    for name in (b"a", b"b"):
        assert isinstance(connect(peers, clients, name), Peer)

    assert "this broker serves 2 peers of this kind already" in str(connect(peers, clients, b"c"))
    assert isinstance(connect(peers, queue, b"d"), Peer)


def test_one_key_does_not_take_the_place_of_others() -> None:
    """I14."""
    peers, clients = table(limit=10, per_key=2), Port()
    for name in (b"a", b"b"):
        assert isinstance(connect(peers, clients, name, key="laptop"), Peer)

    refusal = "this broker serves 2 connections with the key 'laptop' already"
    assert refusal in str(connect(peers, clients, b"c", key="laptop"))
    assert isinstance(connect(peers, clients, b"d", key="desktop"), Peer)


def test_who_leaves_makes_room_once() -> None:
    peers, clients = table(), Port()
    first = connect(peers, clients, b"a", key="laptop")
    connect(peers, clients, b"b", key="laptop")
    assert isinstance(first, Peer)

    peers.close(first)
    peers.close(first)

    assert isinstance(connect(peers, clients, b"c", key="laptop"), Peer)
    assert isinstance(connect(peers, clients, b"d", key="laptop"), str)


def test_a_peer_that_reads_nothing_counts_as_gone_after_a_while() -> None:
    peers, peer = open_one(Port())
    peer.link.send(WhoAreYou())

    peer.flush()
    peers.flushed(peer, sent_before=0, now=0.0)
    peer.flush()
    peers.flushed(peer, sent_before=0, now=20.0)

    assert peers.silent(now=SILENCE / 2 - 0.1) == []
    assert peers.silent(now=SILENCE / 2) == [peer]


def test_a_peer_that_reads_slowly_is_still_there() -> None:
    port = Port()
    peers, peer = open_one(port)
    for _ in range(2):
        peer.link.send(WhoAreYou())
        peer.flush()
    peers.flushed(peer, sent_before=0, now=0.0)

    port.room = 1
    peer.flush()
    peers.flushed(peer, sent_before=0, now=29.0)
    assert peers.silent(now=40.0) == []

    port.room = 1
    peer.flush()
    peers.flushed(peer, sent_before=1, now=40.0)
    peers.heard(peer, now=1_000.0)
    assert peers.silent(now=1_000.0) == []


def test_a_link_is_asked_for_no_more_than_its_socket_takes() -> None:
    """I14."""
    _, peer = open_one(Port())

    for _ in range(5 * MOST_UNSENT):
        peer.link.send(WhoAreYou())
        peer.flush()

    assert len(peer.unsent) == MOST_UNSENT


def test_large_answers_do_not_pile_up_for_a_peer_that_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I14, I15."""
    monkeypatch.setattr(peers_module, "MOST_ANSWERED", 10)
    _, peer = open_one(Port())
    peer.unsent.append([b"the socket is full"])

    for number in range(4):
        peer.hold(answer(number, list(range(7))))

    said = [outgoing.send.message for outgoing in peer.held]
    assert [message.error for message in said if isinstance(message, Answer)] == [
        "",
        "",
        *["too many of your answers are unread: read them, then ask again"] * 2,
    ]

    peer.release(peer.held)
    peer.hold(answer(4, "small"))
    assert peer.held[-1].send.message == Answer(request_id=4, value="small")


def test_a_peer_that_reads_gets_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "MOST_ANSWERED", 10)
    _, peer = open_one(Port())

    for number in range(4):
        peer.hold(answer(number, list(range(7))))

    assert [outgoing.weight for outgoing in peer.held] == [8] * 4


def test_long_answers_have_their_share_of_the_time_and_short_ones_are_free() -> None:
    """I19."""
    _, peer = open_one(Port())

    for _ in range(10_000):
        assert peer.may_ask(now=0.0)
        peer.charge(FREE_SECONDS)
    peer.charge(1.01 * ASK_BURST + FREE_SECONDS)
    assert not peer.may_ask(now=0.0)
    peer.charge(1.0 + FREE_SECONDS)

    assert not peer.may_ask(now=0.9 / ASK_SHARE)
    assert peer.may_ask(now=1.1 / ASK_SHARE)


@pytest.mark.parametrize(
    ("value", "weight"),
    [(None, 1), ("text", 1), ([], 1), ([[2, 3], [4, 5]], 7), ({"a": {"b": (1, None)}}, 5)],
)
def test_an_answer_weighs_about_as_much_as_it_has_values(value: Json, weight: int) -> None:
    assert weight_of(value) == weight
