"""Two ends of a connection without a socket between: for tests of the link."""

import random
from collections.abc import Iterator, Sequence

from paintmq.task import Buffer, TaskId, TaskRequest
from paintmq.wire.frames import CREDIT, HEADER_BYTES, Header, unpack_header
from paintmq.wire.link import Delivery, Link
from paintmq.wire.messages import Submit
from paintmq.wire.transfer import BURST_BYTES, PIECE_BYTES
from tests.harness.message_strategies import payload_infos

TASK, OTHER = TaskId("0123456789abcdef" * 2), TaskId("f" * 32)
BIG = BURST_BYTES + PIECE_BYTES + 17
"""Two bursts, and in the second two pieces."""


def submit(payloads: Sequence[Buffer], task_id: TaskId = TASK) -> Submit:
    """Return the submission of a task with these inputs."""
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
    """Return the kinds of the items in one ZeroMQ message."""
    head, offset, found = multipart[0], 0, []
    while offset < len(head):
        header = unpack_header(head, offset)
        found.append(header.kind)
        offset += HEADER_BYTES + header.body_bytes
    return found
