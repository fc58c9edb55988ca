"""One connection: everything arrives once, the window holds, and hostile traffic is refused."""

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paintmq.errors import WireError
from paintmq.task import Fence, TaskId, TaskRequest
from paintmq.testing.message_strategies import payload_infos
from paintmq.wire.codec import encode
from paintmq.wire.frames import (
    CHUNK,
    CREDIT,
    HEADER_BYTES,
    KIND_OF,
    Buffer,
    Header,
    is_work,
    unpack_header,
)
from paintmq.wire.link import (
    COALESCED_ITEMS,
    MAX_FRAMES,
    MAX_HEAD_BYTES,
    MAX_ITEMS,
    Delivery,
    Link,
    LinkLimits,
)
from paintmq.wire.messages import (
    Assign,
    Assignment,
    AttemptRecorded,
    AttemptSucceeded,
    Cancel,
    ClientHello,
    Message,
    Query,
    Submit,
    WhoAreYou,
)
from paintmq.wire.transfer import INLINE_BYTES, MAX_PAYLOADS, PIECE_BYTES, WINDOW

TASK, OTHER = TaskId("0123456789abcdef" * 2), TaskId("f" * 32)
BIG = 3 * PIECE_BYTES + 17


def submit(payloads: Sequence[Buffer], task_id: TaskId = TASK) -> Submit:
    inputs = payload_infos([len(payload) for payload in payloads])
    return Submit(TaskRequest(id=task_id, task_type="inpaint", model="lama", inputs=inputs))


def filled(size: int, seed: int = 0) -> bytes:
    """Return bytes that differ from place to place, and from seed to seed."""
    return random.Random(seed).randbytes(min(size, 4_099)).ljust(size, bytes([seed % 251]))


def talk(one: Link, other: Link) -> tuple[list[Delivery], list[Delivery]]:
    """Carry everything both ways until neither has more to send; return what each was told."""
    told_one: list[Delivery] = []
    told_other: list[Delivery] = []
    while True:
        forth = one.outgoing()
        for multipart in forth:
            told_other += other.receive(multipart)
        back = other.outgoing()
        for multipart in back:
            told_one += one.receive(multipart)
        if not forth and not back:
            return told_one, told_other


def carry(sender: Link, receiver: Link) -> list[Delivery]:
    """Carry everything both ways; return what the receiver was told, as the sender was nothing."""
    answers, deliveries = talk(sender, receiver)
    assert answers == []
    return deliveries


def bursts_of(link: Link) -> Iterator[list[Buffer]]:
    """Give the multiparts of a link whose peer takes everything at once."""
    while multiparts := link.outgoing():
        yield from multiparts
        link.receive([Header(CREDIT, number=len(multiparts)).pack()])


def kinds(multipart: Sequence[Buffer]) -> list[int]:
    head, offset, found = multipart[0], 0, []
    while offset < len(head):
        header = unpack_header(head, offset)
        found.append(header.kind)
        offset += HEADER_BYTES + header.body_bytes
    return found


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [1],
        [INLINE_BYTES],
        [INLINE_BYTES + 1],
        [PIECE_BYTES],
        [PIECE_BYTES + 1],
        [2 * PIECE_BYTES],
        [BIG, 0, 5, BIG],
        [0, BIG, 0],
        [200_000] * 11,
    ],
)
def test_payloads_of_any_size_arrive_whole(sizes: list[int]) -> None:
    payloads = [filled(size, seed) for seed, size in enumerate(sizes)]
    sender, receiver = Link(), Link()

    sender.send(submit(payloads), payloads)

    [delivery] = carry(sender, receiver)
    assert delivery.message == submit(payloads)
    assert [bytes(payload) for payload in delivery.payloads] == payloads
    assert sender.is_idle
    assert sender.queued_bytes == 0


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[list[int]], list[bool]]:
    """Draw the payload sizes of each message, and in which order the two sides take turns."""
    size = st.sampled_from([0, 3, INLINE_BYTES, INLINE_BYTES + 1, PIECE_BYTES, BIG])
    return (
        draw(st.lists(st.lists(size, max_size=3), min_size=1, max_size=8)),
        draw(st.lists(st.booleans(), max_size=40)),
    )


@given(conversations())
def test_everything_arrives_exactly_once_in_any_interleaving(
    conversation: tuple[list[list[int]], list[bool]],
) -> None:
    plan, turns = conversation
    sender, receiver = Link(), Link()
    wire: list[list[Buffer]] = []
    back: list[list[Buffer]] = []
    sent = {
        TaskId(f"{index:032x}"): [filled(size, index) for size in sizes]
        for index, sizes in enumerate(plan)
    }
    received: dict[TaskId, list[bytes]] = {}
    waiting = list(sent.items())
    under_way = 0

    for forwards in [*turns, *[True, False] * 200]:
        if waiting:
            task_id, payloads = waiting.pop(0)
            sender.send(submit(payloads, task_id), payloads)
        wire += sender.outgoing()
        under_way = sum(1 for multipart in wire if unpack_header(multipart[0]).number)
        assert under_way <= WINDOW
        if forwards and wire:
            for delivery in receiver.receive(wire.pop(0)):
                assert isinstance(delivery.message, Submit)
                assert delivery.message.task.id not in received
                received[delivery.message.task.id] = [bytes(p) for p in delivery.payloads]
            back += receiver.outgoing()
        elif back:
            sender.receive(back.pop(0))

    assert received == sent
    assert sender.is_idle
    assert sender.queued_bytes == 0


def test_no_more_than_the_window_is_under_way_without_credit() -> None:
    payload = filled(30 * PIECE_BYTES)
    sender = Link()

    sender.send(submit([payload]), [payload])

    assert len(sender.outgoing()) == WINDOW
    assert sender.outgoing() == []
    sender.receive([Header(CREDIT, number=3).pack()])
    assert len(sender.outgoing()) == 3
    assert sender.queued_bytes == (30 - WINDOW - 3) * PIECE_BYTES


def test_a_cancel_does_not_wait_behind_an_image() -> None:
    payload = filled(30 * PIECE_BYTES)
    sender = Link()
    sender.send(submit([payload]), [payload])
    sender.outgoing()

    sender.send(Cancel(TASK))

    assert sender.outgoing() == [[encode(Cancel(TASK))]]


def test_what_is_sent_together_travels_together() -> None:
    sender, receiver = Link(), Link()
    tasks = [TaskId(f"{index:032x}") for index in range(30)]

    for task_id in tasks:
        sender.send(submit([b"ab", b"c"], task_id), [b"ab", b"c"])

    [multipart] = sender.outgoing()
    deliveries = receiver.receive(multipart)
    assert [d.message.task.id for d in deliveries if isinstance(d.message, Submit)] == tasks
    assert {d.payloads for d in deliveries} == {(b"ab", b"c")}


@pytest.mark.parametrize(
    ("count", "payload", "most"),
    [(1_000, b"", COALESCED_ITEMS), (40, bytes(INLINE_BYTES), 4)],
)
def test_what_travels_together_stays_small(count: int, payload: bytes, most: int) -> None:
    sender, receiver = Link(), Link()
    for _ in range(count):
        sender.send(submit([payload]), [payload])

    multiparts = sender.outgoing()

    assert {len(kinds(multipart)) for multipart in multiparts[:-1]} == {most}
    assert sum(len(receiver.receive(multipart)) for multipart in multiparts) == count


def test_a_large_body_travels_alone_and_whole() -> None:
    sender, receiver = Link(), Link()
    query = Query(tuple(TaskId(f"{index:032x}") for index in range(4_000)))

    sender.send(query)
    sender.send(query)
    sender.send(query)

    assert [d.message for d in carry(sender, receiver)] == [query] * 3


def test_a_payload_that_is_one_frame_is_never_copied() -> None:
    small, large = filled(100), filled(PIECE_BYTES)
    sender, receiver = Link(), Link()
    sender.send(submit([small]), [small])
    sender.send(submit([large]), [large])

    first, second = carry(sender, receiver)

    assert first.payloads[0] is small
    arrived = second.payloads[0]
    assert isinstance(arrived, memoryview)
    assert arrived.obj is large


def test_a_payload_in_pieces_cannot_be_changed_by_who_gets_it() -> None:
    payload = filled(BIG)
    sender, receiver = Link(), Link()
    sender.send(submit([payload]), [payload])

    [delivery] = carry(sender, receiver)

    assert isinstance(delivery.payloads[0], memoryview)
    assert delivery.payloads[0].readonly


def test_payloads_may_be_any_buffer_of_bytes() -> None:
    sender, receiver = Link(), Link()
    message = AttemptSucceeded(
        task_id=TASK, fence=Fence(1, 1), outputs=payload_infos([6, BIG]), ran=0.1
    )
    pixels = memoryview(bytearray(b"pixels")).cast("B", (2, 3))

    sender.send(message, [pixels, bytearray(BIG)])

    [delivery] = carry(sender, receiver)
    assert [bytes(payload) for payload in delivery.payloads] == [b"pixels", bytes(BIG)]


@pytest.mark.parametrize("payloads", [[], [b"ab", b"c"], [b"abc"]])
def test_payloads_that_the_message_does_not_describe_are_not_sent(payloads: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"Submit describes payloads of \[2\] bytes"):
        Link().send(submit([b"ab"]), payloads)


def test_more_payloads_than_a_message_may_have_are_not_sent() -> None:
    payloads = [b""] * (MAX_PAYLOADS + 1)

    with pytest.raises(WireError, match="1025 payloads"):
        Link().send(submit(payloads), payloads)


@pytest.mark.parametrize("fresh", [True, False], ids=["a new link", "the same link"])
def test_a_hello_starts_the_connection_anew_in_both_directions(fresh: bool) -> None:
    """Whatever was on its way when the client said hello again harms nothing that follows."""
    payload = filled(30 * PIECE_BYTES)
    client, broker = Link(), Link()
    client.send(submit([payload]), [payload])
    broker.send(submit([payload]), [payload])
    for multipart in client.outgoing():
        broker.receive(multipart)
    late = broker.outgoing()
    client = Link() if fresh else client
    client.send(ClientHello())
    client.send(submit([payload]), [payload])

    received = [d for multipart in client.outgoing() for d in broker.receive(multipart)]
    broker.send(submit([payload], OTHER), [payload])
    for multipart in late:
        assert client.receive(multipart) == []
    answers, more = talk(client, broker)

    assert [type(d.message) for d in received + more] == [ClientHello, Submit]
    assert [d.message for d in answers] == [submit([payload], OTHER)]
    assert broker.is_idle
    assert client.is_idle


def test_tasks_and_results_can_be_kept_apart_from_everything_else() -> None:
    payload = filled(BIG)
    assign = Assign((Assignment(task=submit([b"ab"]).task, fence=Fence(1, 1), run_limit=1),))
    recorded = AttemptRecorded(task_id=TASK, fence=Fence(1, 1))
    sender, receiver = Link(work_apart=True), Link()
    for _ in range(2):
        sender.send(assign, [b"ab"])
        sender.send(recorded)
    sender.send(submit([payload]), [payload])

    multiparts = sender.outgoing()

    work = [multipart for multipart in multiparts if is_work(multipart[0])]
    rest = [multipart for multipart in multiparts if not is_work(multipart[0])]
    assert [d.message for m in rest for d in receiver.receive(m)] == [recorded] * 2
    assert [d.message for m in work for d in receiver.receive(m)] == [
        assign,
        assign,
        submit([payload]),
    ]
    assert not is_work(receiver.outgoing()[0][0])


# ---- hostile and clumsy peers ------------------------------------------------------------------


def refuse(link: Link, *frames: Buffer) -> str:
    with pytest.raises(WireError) as caught:
        link.receive(frames)
    return str(caught.value)


def begun(sizes: Sequence[int] = (BIG,)) -> tuple[Link, list[list[Buffer]]]:
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

    assert "not as long" in refuse(receiver, rest[0][0], bytes(10))


def test_pieces_beyond_the_end_are_refused() -> None:
    receiver, rest = begun([BIG])
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
    payload = filled(30 * PIECE_BYTES)
    link = Link()
    for _ in range(5):
        link.receive([Header(CREDIT, number=WINDOW).pack()])

    link.send(submit([payload]), [payload])

    assert len(link.outgoing()) == WINDOW


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
    assert (receiver.arriving, receiver.arrived_bytes) == (submit([bytes(BIG)]), PIECE_BYTES)

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
