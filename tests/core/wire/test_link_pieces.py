"""Payloads that came in pieces: passed on as they came, whole for whoever reads them."""

from tests.harness.link_pair import BIG, carry, filled, submit

from paintmq.wire.link import Link
from paintmq.wire.transfer import Pieces, joined, pieces_of, size_of

CONTENT = filled(BIG)


def test_a_relay_passes_on_the_pieces_that_came_and_the_receiver_has_the_whole() -> None:
    sender, relay, onwards, receiver = (Link() for _ in range(4))
    sender.send(submit([CONTENT, b"", b"small"]), [CONTENT, b"", b"small"])
    [came] = carry(sender, relay)

    onwards.send(came.message, came.received)
    [arrived] = carry(onwards, receiver)

    assert isinstance(came.received[0], Pieces)
    assert arrived.payloads == came.payloads == (CONTENT, b"", b"small")


def test_pieces_count_and_read_as_what_they_are_of() -> None:
    pieces = Pieces((b"one", b"two"), 6)

    assert (size_of(pieces), joined(pieces)) == (6, b"onetwo")
    assert b"".join(pieces_of(pieces)) == b"onetwo"
    assert pieces_of(b"whole") == [b"whole"]
