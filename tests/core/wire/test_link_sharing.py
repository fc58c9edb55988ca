"""A link beside memory that both peers have: what it passes on, and what it refuses by itself."""

import pytest
from tests.harness.link_pair import carry, filled, submit
from tests.harness.shared_memory_trio import Trio

from paintmq.errors import WireError
from paintmq.wire.frames import REFERENCES, SHARE, Header
from paintmq.wire.link import Link, LinkLimits
from paintmq.wire.messages import BrokerHeartbeat

CONTENT = filled(200_000)


def test_a_peer_that_shares_no_memory_passes_over_what_is_said_of_it() -> None:
    sender, receiver = Link(), Link()
    sender.share(b"something")
    sender.send(BrokerHeartbeat())

    assert [delivery.message for delivery in carry(sender, receiver)] == [BrokerHeartbeat()]


def test_nothing_is_said_of_memory_where_there_is_nothing_to_say() -> None:
    link = Link()
    link.share(b"")

    assert (link.is_idle, link.outgoing()) == (True, [])


def test_references_are_refused_where_no_memory_is_shared() -> None:
    client = Trio().client()
    client.peer.send(submit([CONTENT]), [client.put(CONTENT)])
    [multipart] = client.peer.outgoing()

    with pytest.raises(WireError, match="not shared"):
        Link().receive(multipart)


def test_references_come_in_one_frame() -> None:
    client = Trio().client()
    client.peer.send(submit([CONTENT]), [client.put(CONTENT)])
    [[head, references]] = client.peer.outgoing()
    two = bytes(head[:6]) + b"\0\2" + bytes(head[8:])

    with pytest.raises(WireError, match="not shared"):
        client.broker.receive([two, references, references])


def test_what_is_too_large_is_refused_by_reference_too() -> None:
    client = Trio().client()
    narrow = Link(LinkLimits(max_message_bytes=len(CONTENT) - 1))
    narrow.sharing = client.end
    client.peer.send(submit([CONTENT]), [client.put(CONTENT)])

    [delivery] = carry(client.peer, narrow)

    assert "too many" in delivery.refusal
    assert delivery.payloads == ()


def test_what_is_said_of_memory_is_no_message_with_payloads() -> None:
    header = Header(SHARE, 1, sequence=REFERENCES)

    assert Link().receive([header.pack() + b"\1"]) == []
