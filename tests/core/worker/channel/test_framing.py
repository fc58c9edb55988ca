import os
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.worker_bench import key_of

from paintmq.errors import WireError
from paintmq.task import PayloadInfo, TaskError
from paintmq.worker.channel import arena as arena_module
from paintmq.worker.channel.arena import (
    SHARED_FROM,
    ArenaFiles,
    IncomingArena,
    OutgoingArena,
)
from paintmq.worker.channel.framing import FrameReader, HostDelivery, encode, encode_unused
from paintmq.worker.channel.messages import (
    AttemptsEnded,
    BatchBegun,
    BatchProgressed,
    BatchSplit,
    CancelItem,
    Configure,
    FromHost,
    HostBeat,
    HostLeaving,
    HostLoaded,
    HostLoadFailed,
    HostMessage,
    HostReady,
    HostUnloaded,
    Load,
    Outcome,
    Run,
    RunItem,
    Shutdown,
    ToHost,
    Unload,
)


def info(size: int) -> PayloadInfo:
    return PayloadInfo(name="image", size=size, digest="d", kind="array", shape=(size,))


def make_run(*sizes: int) -> Run:
    task_id, fence = key_of(1)
    item = RunItem(
        task_id=task_id,
        fence=fence,
        task_type="inpaint",
        options={"radius": 5, "names": ["a", None]},
        inputs=tuple(info(size) for size in sizes),
    )
    return Run(batch=1, model="alpha", items=(item,))


ERROR = TaskError(code="oom", message="no room", retryable=True, traceback="...")
MESSAGES: list[tuple[HostMessage, list[bytes]]] = [
    (Configure(worker="w", device="cpu", scratch="/s", path=("a",), limits={"max_side": 5}), []),
    (Load("alpha"), []),
    (Unload("alpha"), []),
    (make_run(3, 0, 200_000), [b"abc", b"", b"x" * 200_000]),
    (CancelItem(*key_of(1)), []),
    (Shutdown(), []),
    (HostReady(), []),
    (HostBeat(memory_mb=5), []),
    (HostLoaded(model="alpha", seconds=0.5, memory_mb=7), []),
    (HostLoadFailed(model="alpha", error=ERROR), []),
    (HostUnloaded("alpha"), []),
    (BatchBegun(1), []),
    (BatchProgressed(batch=1, step=1, total=2, preview=(info(2),)), [b"pv"]),
    (BatchSplit(1), []),
    (
        AttemptsEnded(
            batch=1,
            outcomes=(
                Outcome(task_id=key_of(1)[0], fence=key_of(1)[1], ending="failed", error=ERROR),
                Outcome(
                    task_id=key_of(2)[0],
                    fence=key_of(2)[1],
                    ending="succeeded",
                    outputs=(info(4),),
                ),
            ),
        ),
        [b"done"],
    ),
    (HostLeaving("broken"), []),
]


def feed(reader: FrameReader, data: bytes, sizes: list[int]) -> list[HostDelivery]:
    """Hand the bytes over in pieces of these sizes, over and over."""
    deliveries: list[HostDelivery] = []
    turn = 0
    while data:
        space = reader.space()
        count = min(sizes[turn % len(sizes)], space.nbytes, len(data))
        space[:count] = data[:count]
        deliveries += reader.received(count)
        data, turn = data[count:], turn + 1
    return deliveries


def test_every_message_is_tried_here() -> None:
    tried = {type(message) for message, _ in MESSAGES}

    assert tried == {*get_args(ToHost), *get_args(FromHost)}


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=5))
def test_what_goes_in_comes_out_however_the_stream_is_cut(sizes: list[int]) -> None:
    data = b"".join(piece for message in MESSAGES for piece in encode(*message))

    deliveries = feed(FrameReader(1_000_000), data, sizes)

    assert [(d.message, [bytes(p) for p in d.payloads]) for d in deliveries] == MESSAGES


@pytest.fixture
def arena() -> Iterator[tuple[OutgoingArena, IncomingArena]]:
    files = ArenaFiles.make()
    assert files is not None
    incoming = IncomingArena(os.dup(files.to_host))
    outgoing, other = files.ends_of_agent()
    assert outgoing is not None
    yield outgoing, incoming
    incoming.close()
    other.close()


@pytest.mark.parametrize("sizes", [[1], [3, 700], [1_000_000]])
def test_large_payloads_stay_in_the_arena_and_their_places_are_given_back(
    arena: tuple[OutgoingArena, IncomingArena], sizes: list[int]
) -> None:
    outgoing, incoming = arena
    payloads = [b"abc", b"", b"x" * SHARED_FROM]
    run = make_run(*(len(payload) for payload in payloads))
    data = b"".join(encode(run, payloads, outgoing))
    reader = FrameReader(1_000_000, incoming=incoming)
    deliveries = feed(reader, data + b"".join(encode(Load("alpha"))), sizes)

    assert len(data) < 1_000
    assert [bytes(payload) for payload in deliveries[0].payloads] == payloads
    assert [delivery.message for delivery in deliveries] == [run, Load("alpha")]
    assert encode_unused(incoming.unused()) == []
    del deliveries
    back = b"".join(encode_unused(incoming.unused()))
    sender = FrameReader(1_000, outgoing=outgoing)
    heard = feed(sender, back + b"".join(encode(HostReady())), sizes)
    assert [delivery.message for delivery in heard] == [HostReady()]
    assert outgoing.used_bytes == 0


def test_small_payloads_and_those_that_find_no_room_go_by_the_stream(
    arena: tuple[OutgoingArena, IncomingArena], monkeypatch: pytest.MonkeyPatch
) -> None:
    outgoing, _ = arena
    large = b"x" * SHARED_FROM
    assert len(encode(make_run(len(large) - 1), [large[:-1]], outgoing)) == 2
    assert len(encode(make_run(len(large)), [large], outgoing)) == 1
    monkeypatch.setattr(arena_module, "ARENA_BYTES", SHARED_FROM)

    assert len(encode(make_run(len(large)), [large], outgoing)) == 2


def test_places_in_an_arena_that_there_is_not_are_refused(
    arena: tuple[OutgoingArena, IncomingArena],
) -> None:
    outgoing, incoming = arena
    payload = b"x" * SHARED_FROM
    data = b"".join(encode(make_run(len(payload)), [payload], outgoing))
    place = incoming.view(0, [len(payload)])
    del place
    back = b"".join(encode_unused(incoming.unused()))

    with pytest.raises(WireError, match="there is none"):
        feed(FrameReader(1_000_000), data, [100])
    with pytest.raises(WireError, match="give back"):
        feed(FrameReader(1_000), back, [100])
    with pytest.raises(WireError, match="give back"):
        feed(FrameReader(1_000, outgoing=outgoing), b"\x01\x00\x00\x00\x3f\x00", [100])
    with pytest.raises(WireError, match="nothing lies"):
        feed(FrameReader(1_000, outgoing=outgoing), back * 2, [100])


def test_payloads_that_a_message_does_not_describe_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match what Run describes"):
        encode(make_run(3), [b"four"])


def test_large_payloads_are_received_in_place() -> None:
    reader = FrameReader(1_000_000)
    head, payload = encode(make_run(200_000), [b"x" * 200_000])
    feed(reader, bytes(head), [len(head)])

    assert reader.space().nbytes == payload.nbytes


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff\x00",  # a body of 4 GiB
        b"\x00\x00\x00\x00\xfe",  # a kind there is not
        b"\x01\x00\x00\x00\x03\xc1",  # no msgpack
        b"\x01\x00\x00\x00\x03\x90",  # not that message
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        feed(FrameReader(1_000), data, [100])


@pytest.mark.parametrize("size", [1_001, -1])
def test_payloads_of_impossible_size_are_refused(size: int) -> None:
    run: Any = make_run(1_001)
    if size < 0:
        data = b"".join(encode(run, [b"x" * 1_001]))
        data = data.replace(b"\xcd\x03\xe9", b"\xd1\xff\xff")
    else:
        data = b"".join(encode(run, [b"x" * 1_001]))

    with pytest.raises(WireError, match="bytes"):
        feed(FrameReader(1_000), data, [100])
