"""One connection: everything arrives once, and the window holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.link_pair import BIG, OTHER, TASK, carry, filled, kinds, submit, talk
from tests.harness.message_strategies import payload_infos

from paintmq.errors import WireError
from paintmq.task import Buffer, Fence, TaskId
from paintmq.wire.codec import encode
from paintmq.wire.frames import CHUNK, CREDIT, HEADER_BYTES, Header, is_work, unpack_header
from paintmq.wire.link import COALESCED_ITEMS, Link
from paintmq.wire.messages import (
    Assign,
    Assignment,
    AttemptRecorded,
    AttemptSucceeded,
    Cancel,
    ClientHello,
    Query,
    Submit,
)
from paintmq.wire.transfer import (
    BURST_BYTES,
    INLINE_BYTES,
    MAX_PAYLOADS,
    PIECE_BYTES,
    WINDOW,
    WINDOW_BYTES,
)


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
    payloads = [filled(INLINE_BYTES + 1)] * 30
    sender = Link()

    for number, payload in enumerate(payloads):
        sender.send(submit([payload], TaskId(f"{number:032x}")), [payload])

    assert len(sender.outgoing()) == WINDOW
    assert sender.outgoing() == []
    sender.receive([Header(CREDIT, number=3).pack()])
    assert len(sender.outgoing()) == 3
    assert sender.queued_bytes == (30 - WINDOW - 3) * (INLINE_BYTES + 1)


def test_of_large_bursts_half_a_window_is_under_way_and_never_less() -> None:
    """What waits behind them must not wait for long; less would never be credited."""
    payload = filled(30 * BURST_BYTES)
    sender = Link()

    sender.send(submit([payload]), [payload])

    sent = sender.outgoing()
    assert len(sent) == WINDOW // 2
    assert sum(len(piece) for burst in sent for piece in burst[1:]) == WINDOW_BYTES
    sender.receive([Header(CREDIT, number=1).pack()])
    assert len(sender.outgoing()) == 1
    sender.receive([Header(CREDIT, number=2 * WINDOW).pack()])
    assert len(sender.outgoing()) == WINDOW // 2
    assert sender.queued_bytes == (30 - WINDOW - 1) * BURST_BYTES


def test_the_bursts_of_an_older_version_are_read() -> None:
    """It sent one piece each."""
    payload = filled(3 * PIECE_BYTES + 17)
    sender, receiver = Link(), Link()
    sender.send(submit([payload]), [payload])
    ((head, *pieces),) = sender.outgoing()
    header, body = unpack_header(head), bytes(head)[HEADER_BYTES:]
    bursts: list[list[Buffer]] = [[header._replace(frames=1).pack() + body, pieces[0]]]
    for number, piece in enumerate(pieces[1:], 1):
        chunk = Header(CHUNK, frames=1, number=header.number, sequence=number)
        bursts.append([chunk.pack(), piece])

    deliveries = [each for burst in bursts for each in receiver.receive(burst)]

    assert [bytes(each) for delivery in deliveries for each in delivery.payloads] == [payload]


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

    assert memoryview(delivery.payloads[0]).readonly


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
    payload = filled(4 * BURST_BYTES)  # which the receiver gives credit for
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
