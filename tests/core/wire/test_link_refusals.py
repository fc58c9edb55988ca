"""One connection with a hostile or clumsy peer: refused in words, and nothing is spoilt by it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.link_pair import BIG, OTHER, bursts_of, carry, filled, kinds, submit

from paintmq.errors import WireError
from paintmq.task import Buffer, Fence
from paintmq.wire.codec import encode
from paintmq.wire.frames import CHUNK, CREDIT, HEADER_BYTES, KIND_OF, Header, unpack_header
from paintmq.wire.link import MAX_FRAMES, MAX_HEAD_BYTES, MAX_ITEMS, Link, LinkLimits
from paintmq.wire.messages import Message, WhoAreYou
from paintmq.wire.transfer import BURST_BYTES, INLINE_BYTES, MAX_PAYLOADS, PIECE_BYTES, WINDOW

LONG = 3 * BURST_BYTES + 17
"""Four bursts."""


def refuse(link: Link, *frames: Buffer) -> str:
    with pytest.raises(WireError) as caught:
        link.receive(frames)
    return str(caught.value)


def begun(sizes: Sequence[int] = (LONG,)) -> tuple[Link, list[list[Buffer]]]:
    """Return a link that got the first burst of a transfer, and the bursts to come."""
    payloads = [filled(size) for size in sizes]
    sender, receiver = Link(), Link()
    sender.send(submit(payloads), payloads)
    first, *rest = bursts_of(sender)
    assert receiver.receive(first) == []
    return receiver, rest


def test_a_message_without_frames_is_refused() -> None:
    assert refuse(Link()) == "a message without frames"


def test_a_head_above_its_limit_is_refused_unread() -> None:
    assert "too large" in refuse(Link(), bytes(MAX_HEAD_BYTES + 1))


def test_a_body_shorter_than_announced_is_refused() -> None:
    assert "body is not as long" in refuse(Link(), Header(KIND_OF[WhoAreYou], 10).pack() + b"123")


def test_too_many_messages_in_one_are_refused() -> None:
    assert "more than 256" in refuse(Link(), encode(WhoAreYou()) * (MAX_ITEMS + 1))


@pytest.mark.parametrize(
    ("frames", "extra", "reason"),
    [
        (0, [], "not those the message describes"),
        (1, [], "frames are missing"),
        (1, [b"abc"], "not those the message describes"),
        (1, [b"ab", b"c"], "belong to no message"),
        (2, [b"ab", b"c"], "not those the message describes"),
    ],
)
def test_payload_frames_that_do_not_match_are_refused(
    frames: int, extra: list[bytes], reason: str
) -> None:
    data = encode(submit([b"ab"]))
    head = unpack_header(data)._replace(frames=frames).pack() + data[HEADER_BYTES:]

    assert reason in refuse(Link(), head, *extra)


def test_a_big_payload_outside_the_window_is_refused() -> None:
    payload = bytes(INLINE_BYTES + 1)
    data = encode(submit([payload]))
    head = unpack_header(data)._replace(frames=1).pack() + data[HEADER_BYTES:]

    assert "not those the message describes" in refuse(Link(), head, payload)


@pytest.mark.parametrize(("sequence", "frames"), [(1, 1), (0, 0)])
def test_a_transfer_that_begins_wrongly_is_refused(sequence: int, frames: int) -> None:
    sender = Link()
    sender.send(submit([bytes(BIG)]), [bytes(BIG)])
    head, *pieces = sender.outgoing()[0]
    header = unpack_header(head)._replace(sequence=sequence, frames=frames)

    refuse(Link(), header.pack() + bytes(head[HEADER_BYTES:]), *pieces[: header.frames])


def test_a_small_payload_cannot_be_a_transfer() -> None:
    data = encode(submit([b"ab"]))
    head = unpack_header(data)._replace(frames=1, number=1).pack() + data[HEADER_BYTES:]

    assert "no beginning" in refuse(Link(), head, b"ab")


def test_more_payload_bytes_than_agreed_are_refused_before_any_arrives() -> None:
    """I15: in words, to be passed on; and what is sent all the same is dropped."""
    sender, receiver = Link(), Link(LinkLimits(max_message_bytes=BIG - 1))
    sender.send(submit([bytes(BIG)]), [bytes(BIG)])
    sender.send(submit([b"small"], OTHER), [b"small"])

    taken, refused = carry(sender, receiver)

    assert f"{BIG} bytes of payloads are too many: {BIG - 1} at most" in refused.refusal
    assert refused.payloads == ()
    assert (taken.refusal, taken.payloads) == ("", (b"small",))
    assert receiver.arrived_bytes == 0
    assert sender.is_idle


def test_more_payloads_than_a_message_may_have_are_refused() -> None:
    data = encode(submit([b""] * (MAX_PAYLOADS + 1)))

    assert "1025 payloads" in refuse(Link(), data)


def test_a_transfer_whose_end_was_lost_does_not_spoil_the_next() -> None:
    receiver, _ = begun()
    payload = filled(BIG, 1)
    sender = Link()
    sender._next_number = 2
    sender.send(submit([payload], OTHER), [payload])

    [delivery] = carry(sender, receiver)

    assert delivery.message == submit([payload], OTHER)


def test_a_lost_burst_is_noticed() -> None:
    receiver, rest = begun()

    assert "missing" in refuse(receiver, *rest[1])


def test_a_repeated_burst_is_noticed() -> None:
    receiver, rest = begun()
    receiver.receive(rest[0])

    assert "missing" in refuse(receiver, *rest[0])


def test_pieces_of_another_size_are_refused() -> None:
    receiver, rest = begun()
    head = unpack_header(rest[0][0])._replace(frames=1).pack()

    assert "not as long" in refuse(receiver, head, bytes(10))


def test_pieces_beyond_the_end_are_refused() -> None:
    receiver, rest = begun([LONG])
    for multipart in rest[:-1]:
        receiver.receive(multipart)
    head = unpack_header(rest[-1][0])._replace(frames=2).pack()

    assert "longer than its message says" in refuse(receiver, head, rest[-1][1], b"more")


def test_pieces_of_no_transfer_are_dropped_and_credited() -> None:
    link = Link()

    for _ in range(WINDOW):
        assert link.receive([Header(CHUNK, frames=1, number=7).pack(), bytes(PIECE_BYTES)]) == []

    assert link.outgoing() == [[Header(CREDIT, number=WINDOW).pack()]]


def test_credit_nobody_asked_for_opens_no_wider_window() -> None:
    payload = filled(10 * BURST_BYTES)
    link = Link()
    for _ in range(5):
        link.receive([Header(CREDIT, number=WINDOW).pack()])

    link.send(submit([payload]), [payload])

    assert len(link.outgoing()) == WINDOW // 2


def test_a_credit_of_more_than_can_be_under_way_is_refused() -> None:
    link = Link()

    assert link.receive([Header(CREDIT, number=2 * WINDOW).pack()]) == []
    assert "a credit of 4294967295" in refuse(link, Header(CREDIT, number=0xFFFF_FFFF).pack())


def test_bursts_without_credit_are_refused_and_cost_nothing_until_then() -> None:
    """I14: a peer that reads no credits cannot make us keep them."""
    link = Link()
    burst = [Header(CHUNK, frames=1, number=7).pack(), b"piece"]

    for _ in range(2 * WINDOW):
        assert link.receive(burst) == []

    assert "more bursts than there was credit for" in refuse(link, *burst)
    assert link.arrived_bytes == 0


def test_bursts_that_are_credited_go_on_for_ever() -> None:
    link = Link()

    for _ in range(10 * WINDOW):
        assert link.receive([Header(CHUNK, frames=1, number=7).pack(), b"piece"]) == []
        assert not link.outgoing() or link.is_idle


def test_a_link_that_owes_credits_is_not_idle() -> None:
    link = Link()
    for _ in range(WINDOW // 2):
        link.receive([Header(CHUNK, frames=1, number=7).pack(), b"piece"])
        owes = link.is_idle

    assert not owes
    link.outgoing()
    assert link.is_idle


def test_more_frames_than_a_message_may_have_are_refused() -> None:
    """I14."""
    assert f"{MAX_FRAMES + 1} frames are too many" in refuse(Link(), *[b""] * (MAX_FRAMES + 1))


def test_what_travels_together_has_no_more_frames_than_may_be() -> None:
    sender, receiver = Link(), Link()
    message = submit([b""] * 400)
    for _ in range(10):
        sender.send(message, [b""] * 400)

    multiparts = sender.outgoing()

    assert max(len(multipart) for multipart in multiparts) <= MAX_FRAMES
    assert len([d for m in multiparts for d in receiver.receive(m)]) == 10


def test_a_message_of_as_many_payloads_as_may_be_arrives() -> None:
    sender, receiver = Link(), Link()
    sender.send(submit([b"x"] * MAX_PAYLOADS), [b"x"] * MAX_PAYLOADS)

    [multipart] = sender.outgoing()

    assert len(receiver.receive(multipart)[0].payloads) == MAX_PAYLOADS


def test_what_is_arriving_can_be_forgotten_and_the_rest_of_it_is_dropped() -> None:
    """I14."""
    receiver, rest = begun()
    assert (receiver.arriving, receiver.arrived_bytes) == (submit([bytes(LONG)]), BURST_BYTES)

    receiver.forget_arriving()

    assert [receiver.receive(multipart) for multipart in rest] == [[]] * len(rest)
    assert (receiver.arriving, receiver.arrived_bytes) == (None, 0)
    assert kinds(receiver.outgoing()[0]) == [CREDIT]


@given(
    frames=st.lists(
        st.binary(max_size=100)
        | st.builds(
            lambda kind, size, frames, number, sequence: (
                Header(kind, size, bytes(16), Fence(0, 0), frames, number, sequence).pack()
                + bytes(size)
            ),
            st.sampled_from([*KIND_OF.values(), CHUNK, CREDIT, 0x99]),
            st.integers(0, 3),
            st.integers(0, 3),
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        max_size=5,
    )
)
def test_whatever_arrives_is_delivered_or_refused(frames: list[bytes]) -> None:
    link = Link()

    try:
        deliveries = link.receive(frames)
    except WireError:
        return
    assert all(isinstance(delivery.message, Message) for delivery in deliveries)
