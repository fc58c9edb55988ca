"""When a connection writes messages as runs, and that neither end sees a difference."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.link_pair import carry, filled, kinds, submit

from paintmq.errors import WireError
from paintmq.task import Buffer, Fence, PayloadInfo, TaskId
from paintmq.wire.codec import encode_parts
from paintmq.wire.frames import KIND_OF, RUN, Header, unpack_header
from paintmq.wire.link import COALESCED_ITEMS, Link
from paintmq.wire.messages import (
    PROTOCOL_VERSION,
    AttemptSucceeded,
    Cancel,
    ClientHello,
    Message,
    ResultReceived,
    Submit,
    Welcome,
    WorkerHello,
    WorkerWelcome,
)
from paintmq.wire.runs import MAX_RUN_BYTES, MOST_RECEIVED, encode_run
from paintmq.wire.transfer import INLINE_BYTES

IDS = [TaskId(f"{number:032x}") for number in range(1_000)]


def acquainted(version: int = PROTOCOL_VERSION) -> tuple[Link, Link]:
    """Return the ends of a client and of its broker, where one of them speaks this version."""
    client, broker = Link(), Link()
    client.send(ClientHello(newest=version))
    carry(client, broker)
    broker.send(Welcome(incarnation=1, durable_sequence=0, heartbeat=5.0, newest=version))
    carry(broker, client)
    return client, broker


def told(link: Link, multiparts: Sequence[Sequence[Buffer]]) -> list[Message]:
    return [each.message for multipart in multiparts for each in link.receive(multipart)]


def test_messages_of_a_kind_are_one_item() -> None:
    client, broker = acquainted()
    for task_id in IDS[:20]:
        client.send(ResultReceived(task_id))

    [multipart] = client.outgoing()
    assert kinds(multipart) == [KIND_OF[ResultReceived]]
    assert told(broker, [multipart]) == [ResultReceived(task_id) for task_id in IDS[:20]]
    assert client.is_idle
    assert client.queued_bytes == 0


def test_a_worker_writes_runs_once_it_is_welcomed_by_a_broker_that_reads_them() -> None:
    worker, broker = Link(), Link()
    worker.send(WorkerHello(newest=4, name="w", node="n", queue="q", device="cpu"))
    carry(worker, broker)
    broker.send(WorkerWelcome(incarnation=1, heartbeat=5.0, lease=30.0, newest=4))
    carry(broker, worker)
    ended = [
        AttemptSucceeded(task_id=task_id, fence=Fence(1, 1), outputs=(), ran=0.5)
        for task_id in IDS[:5]
    ]
    for message in ended:
        worker.send(message, check=True)

    [multipart] = worker.outgoing()
    assert len(kinds(multipart)) == 1
    assert told(broker, [multipart]) == ended


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_peer_of_an_older_version_is_sent_them_one_by_one(version: int) -> None:
    for sender in acquainted(version):
        sender.send(ResultReceived(IDS[0]))
        sender.send(ResultReceived(IDS[1]))

        [multipart] = sender.outgoing()
        assert kinds(multipart) == [KIND_OF[ResultReceived]] * 2


def test_on_a_new_connection_they_are_sent_one_by_one_until_it_is_known_who_is_there() -> None:
    client, _ = acquainted()
    client.send(ResultReceived(IDS[0]))
    client.send(ClientHello(newest=4))
    client.send(ResultReceived(IDS[1]))
    client.send(ResultReceived(IDS[2]))

    [multipart] = client.outgoing()
    found = [KIND_OF[each] for each in (ClientHello, ResultReceived, ResultReceived)]
    assert kinds(multipart) == found


def test_one_alone_is_written_as_ever() -> None:
    client, _ = acquainted()
    header, body = encode_parts(submit([b"abc"]))
    client.send(submit([b"abc"]), [b"abc"], parts=(header, body))

    assert client.outgoing() == [[header.pack(frames=1) + body, b"abc"]]


def test_the_order_of_messages_of_different_kinds_is_kept() -> None:
    client, broker = acquainted()
    sent: list[Message] = [
        ResultReceived(IDS[0]),
        ResultReceived(IDS[1]),
        Cancel(IDS[2]),
        ResultReceived(IDS[3]),
    ]
    sent += [submit([], IDS[4]), submit([], IDS[5]), ResultReceived(IDS[6])]
    for message in sent:
        client.send(message)

    assert told(broker, client.outgoing()) == sent


@given(st.lists(st.lists(st.sampled_from([0, 1, 100, 30_000]), max_size=3), max_size=80))
def test_payloads_of_members_arrive_with_them(plan: list[list[int]]) -> None:
    client, broker = acquainted()
    sent = {
        IDS[number]: tuple(filled(size, number) for size in sizes)
        for number, sizes in enumerate(plan)
    }
    for task_id, payloads in sent.items():
        client.send(submit(payloads, task_id), payloads)

    deliveries = carry(client, broker)
    received = {
        each.message.task.id: each.payloads
        for each in deliveries
        if isinstance(each.message, Submit)
    }
    assert received == sent
    assert client.queued_bytes == 0


def test_a_run_holds_no_more_payload_than_one_message_may() -> None:
    client, broker = acquainted()
    data = filled(INLINE_BYTES // 3)
    for task_id in IDS[:7]:
        client.send(submit([data], task_id), [data])
    assert client.queued_bytes >= 7 * len(data)

    multiparts = client.outgoing()
    sizes = [len(memoryview(frame)) for multipart in multiparts for frame in multipart[1:]]
    assert sizes == [3 * len(data), 3 * len(data), len(data)]
    assert len(told(broker, multiparts)) == 7


def test_a_multipart_brings_no_more_messages_than_without_runs() -> None:
    client, broker = acquainted()
    for task_id in IDS[: 3 * COALESCED_ITEMS + 5]:
        client.send(ResultReceived(task_id))
        if int(task_id, 16) % 40 == 5:
            client.send(Cancel(task_id))

    counts = [len(broker.receive(multipart)) for multipart in client.outgoing()]
    assert max(counts) <= COALESCED_ITEMS
    assert sum(counts) == 3 * COALESCED_ITEMS + 8


def test_a_long_message_ends_a_run() -> None:
    client, broker = acquainted()
    long = Submit(
        submit([]).task.__class__(
            id=IDS[1], task_type="t", model="m", options={"text": "x" * 5_000}
        )
    )
    for message in (submit([], IDS[0]), long, submit([], IDS[2])):
        client.send(message, parts=encode_parts(message))

    [multipart] = client.outgoing()
    assert len(kinds(multipart)) == 2
    assert len(told(broker, [multipart])) == 3


def test_one_that_cannot_be_sent_costs_no_other() -> None:
    client, broker = acquainted()
    bad = Submit(submit([]).task.__class__(id=IDS[1], task_type="t", model="\ud800"))
    for message in (submit([], IDS[0]), bad, submit([], IDS[2])):
        client.send(message)

    with pytest.raises(WireError, match="cannot be sent"):
        client.outgoing()
    assert [type(each) for each in told(broker, client.outgoing())] == [Submit, Submit]


def test_what_would_be_too_large_together_is_sent_apart() -> None:
    client, broker = acquainted()
    name = "n" * 30_000
    outputs = tuple(PayloadInfo(name=name, size=0, digest="0" * 64, kind="file") for _ in range(2))
    for number in range(30):
        info = PayloadInfo(name=str(number), size=0, digest="0" * 64, kind="file")
        message = AttemptSucceeded(
            task_id=IDS[number], fence=Fence(1, 1), outputs=(*outputs, info), ran=0.0
        )
        client.send(message, [b""] * 3)
    assert 30 * 2 * len(name) > MAX_RUN_BYTES

    multiparts = client.outgoing()
    assert len(told(broker, multiparts)) == 30
    assert max(len(memoryview(multipart[0])) for multipart in multiparts) <= 512 * 1024


def item(members: Sequence[Message], frames: int = 0) -> bytes:
    body = encode_run(members)
    return Header(KIND_OF[type(members[0])], len(body), frames=frames, sequence=RUN).pack() + body


TWO = [submit([b"ab", b""], IDS[0]), submit([b"c"], IDS[1])]


@pytest.mark.parametrize(
    "frames",
    [[], [b"ab"], [b"abcd"], [b"ab", b"c"]],
    ids=["none", "short", "long", "several"],
)
def test_payloads_other_than_described_are_refused(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        Link().receive([item(TWO, len(frames)), *frames])


def test_payloads_as_described_are_taken() -> None:
    deliveries = Link().receive([item(TWO, 1), b"abc"])
    assert [each.payloads for each in deliveries] == [(b"ab", b""), (b"c",)]


def test_more_payload_than_travels_with_a_message_is_refused() -> None:
    data = filled(INLINE_BYTES)
    with pytest.raises(WireError, match="not those the run describes"):
        Link().receive([item([submit([data], IDS[0]), submit([b"c"], IDS[1])], 1), data + b"c"])


def test_payloads_of_messages_that_have_none_are_refused() -> None:
    with pytest.raises(WireError, match="have none"):
        Link().receive([item([ResultReceived(IDS[0])], 1), b"a"])


def test_members_count_as_messages() -> None:
    run = item([ResultReceived(task_id) for task_id in IDS[:MOST_RECEIVED]])
    assert len(Link().receive([run])) == MOST_RECEIVED
    with pytest.raises(WireError, match="more than 256"):
        Link().receive([run + item([ResultReceived(IDS[0])])])
    with pytest.raises(WireError, match="more than 256"):
        Link().receive([item([ResultReceived(IDS[0])]) + run])


def test_a_run_within_a_transfer_is_no_run() -> None:
    header = unpack_header(item([ResultReceived(IDS[0])]))
    body = item([ResultReceived(IDS[0])])[44:]
    with pytest.raises(WireError):
        Link().receive([header._replace(number=3).pack() + body])


class Noting:
    """Shared memory that is told of messages and has none."""

    def __init__(self) -> None:
        self.told: list[Message] = []

    def heard(self, said: Buffer) -> bytes:
        return b""

    def refer(self, message: Message, payloads: Sequence[object]) -> bytes | None:
        return None

    def resolve(
        self, message: Message, references: Buffer, infos: Sequence[PayloadInfo]
    ) -> tuple[Buffer, ...] | None:
        return None

    def arrived(self, message: Message) -> None:
        self.told.append(message)


def test_memory_that_is_shared_is_told_of_each_member() -> None:
    client, broker = acquainted()
    broker.sharing = noting = Noting()
    sent = [ResultReceived(task_id) for task_id in IDS[:3]]
    for message in sent:
        client.send(message)

    assert told(broker, client.outgoing()) == noting.told == sent
