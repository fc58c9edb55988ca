"""Multipart messages are read whole, and those of too many frames in parts."""

from collections.abc import Iterator

import pytest
import zmq

from paintmq.identifiers import new_peer_id
from paintmq.task import Buffer
from paintmq.transport.multipart import (
    COPIED_BYTES,
    CUT_AT_ONCE,
    MultipartReader,
    send_frames,
)
from paintmq.transport.sockets import Socket, bind, dealer, new_context, router

MOST = 10


@pytest.fixture
def pair() -> Iterator[tuple[MultipartReader, Socket, Socket]]:
    with (
        new_context() as context,
        router(context) as listening,
        dealer(context, new_peer_id()) as sender,
    ):
        sender.connect(bind(listening, "127.0.0.1", 0, purpose="clients"))
        yield MultipartReader(listening, most_frames=MOST), listening, sender


def read(reader: MultipartReader, socket: Socket) -> list[bytes]:
    """Return the next message without the sender's id, as soon as it comes."""
    while (frames := reader.receive()) is None:
        assert reader.is_cutting or socket.poll(10_000, zmq.POLLIN)
    return [frame.bytes for frame in frames[1:]]


def test_messages_come_whole(pair: tuple[MultipartReader, Socket, Socket]) -> None:
    reader, listening, sender = pair
    sender.send_multipart([b"one"])
    sender.send_multipart([b"", b"two", b""])

    assert read(reader, listening) == [b"one"]
    assert read(reader, listening) == [b"", b"two", b""]
    assert reader.receive() is None


def test_frames_small_and_large_are_sent_as_they_are_in_one_message(
    pair: tuple[MultipartReader, Socket, Socket],
) -> None:
    reader, listening, sender = pair
    large = bytes(range(256)) * (COPIED_BYTES // 256 + 1)
    sent: list[Buffer] = [b"head", memoryview(large), b"", bytearray(b"small"), memoryview(b"view")]
    assert sender.poll(10_000, zmq.POLLOUT)
    send_frames(sender, sent)
    send_frames(sender, [b"next"])

    assert read(reader, listening) == [bytes(frame) for frame in sent]
    assert read(reader, listening) == [b"next"]


def test_what_a_connection_does_not_take_is_not_sent_in_part() -> None:
    with new_context() as context, router(context) as listening:
        bind(listening, "127.0.0.1", 0, purpose="clients")
        with pytest.raises(zmq.ZMQError):
            send_frames(listening, [b"who is not there", b"one", b"two"])
        with dealer(context, new_peer_id()) as sender, pytest.raises(zmq.Again):
            send_frames(sender, [b"not connected", b"two"])


def test_a_message_of_too_many_frames_is_cut_in_several_turns(
    pair: tuple[MultipartReader, Socket, Socket],
) -> None:
    """I19."""
    reader, listening, sender = pair
    sender.send_multipart([b"x"] * (3 * CUT_AT_ONCE))
    sender.send(b"next")

    assert len(read(reader, listening)) == MOST
    assert reader.is_cutting

    assert reader.receive() is None
    assert reader.receive() is None
    assert reader.is_cutting
    assert read(reader, listening) == [b"next"]
    assert not reader.is_cutting


def test_a_message_of_as_many_frames_as_allowed_is_whole(
    pair: tuple[MultipartReader, Socket, Socket],
) -> None:
    reader, listening, sender = pair
    sender.send_multipart([b"x"] * (MOST - 1))
    sender.send(b"next")

    assert read(reader, listening) == [b"x"] * (MOST - 1)
    assert not reader.is_cutting
    assert read(reader, listening) == [b"next"]
