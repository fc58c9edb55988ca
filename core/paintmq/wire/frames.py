"""The fixed header in front of every message, and the numbers of all kinds.

Rule 1: bytes 0 to 3 (magic, version, kind) and the layouts of both hellos and of Refused never
change, so that peers of any two versions can tell each other why they disconnect.
Rule 2: a number in ``KIND_OF`` is never given to another message.
"""

from struct import Struct
from typing import NamedTuple

from paintmq.errors import VersionMismatchError, WireError
from paintmq.task import Buffer, Fence
from paintmq.wire import messages as m

MAGIC = b"PQ"
NO_TASK = bytes(16)
NO_FENCE = Fence(0, 0)

CHUNK = 0xF0
"""Not a message: the next pieces of a transfer follow."""
CREDIT = 0xF1
"""Not a message: the receiver has taken ``number`` bursts and is ready for as many more."""

KIND_OF: dict[type[m.Message], int] = {
    m.ClientHello: 0x01,
    m.Submit: 0x02,
    m.Cancel: 0x03,
    m.Query: 0x04,
    m.ResultReceived: 0x05,
    m.Ask: 0x06,
    m.ClientGoodbye: 0x07,
    m.Welcome: 0x20,
    m.Accepted: 0x21,
    m.Rejected: 0x22,
    m.Progressed: 0x23,
    m.Finished: 0x24,
    m.UnknownTask: 0x25,
    m.CancelAnswered: 0x26,
    m.Answer: 0x27,
    m.WorkerHello: 0x40,
    m.AttemptStarted: 0x41,
    m.AttemptProgressed: 0x42,
    m.AttemptSucceeded: 0x43,
    m.AttemptFailed: 0x44,
    m.AttemptCrashed: 0x45,
    m.AttemptReturned: 0x46,
    m.ModelLoaded: 0x47,
    m.ModelUnloaded: 0x48,
    m.Draining: 0x49,
    m.WorkerGoodbye: 0x4A,
    m.WorkerWelcome: 0x60,
    m.Assign: 0x61,
    m.Abandon: 0x62,
    m.AttemptRecorded: 0x63,
    m.Preload: 0x64,
    m.Drain: 0x65,
    m.WhoAreYou: 0x80,
    m.Refused: 0x81,
    m.BrokerHeartbeat: 0x82,
    m.Heartbeat: 0x83,
}

_WORK = frozenset({KIND_OF[m.Assign], KIND_OF[m.AttemptSucceeded], CHUNK})

# magic, version, kind, sequence, frames, number, body size, task id, incarnation, attempt
_LAYOUT = Struct(">2sBBHHII16sQI")
HEADER_BYTES = _LAYOUT.size

_MAX_INCARNATION = (1 << 63) - 1


class Header(NamedTuple):
    """The 44 bytes in front of a body. What a kind does not use is zero."""

    kind: int
    body_bytes: int = 0
    task_id: bytes = NO_TASK
    fence: Fence = NO_FENCE
    frames: int = 0
    """Payload frames that follow in the same ZeroMQ message."""
    number: int = 0
    """Of the transfer; 0 when the payloads are all here. In a CREDIT: how many bursts."""
    sequence: int = 0
    """Of the burst within its transfer, from 0."""

    def pack(self) -> bytes:
        return _LAYOUT.pack(
            MAGIC,
            m.PROTOCOL_VERSION,
            self.kind,
            self.sequence,
            self.frames,
            self.number,
            self.body_bytes,
            self.task_id,
            self.fence.incarnation,
            self.fence.attempt,
        )


def unpack_header(data: Buffer, offset: int = 0) -> Header:
    """Return the header that starts at ``offset``.

    Raises:
        WireError: there is none, or (VersionMismatchError) it is of a version not spoken here.
    """
    if len(data) - offset < HEADER_BYTES:
        raise WireError(f"{len(data) - offset} bytes are too few for a header")
    (magic, version, kind, sequence, frames, number, body_bytes, task_id, incarnation, attempt) = (
        _LAYOUT.unpack_from(data, offset)
    )
    if magic != MAGIC:
        raise WireError("this is no PaintMQ message")
    if not m.OLDEST_PROTOCOL_VERSION <= version <= m.PROTOCOL_VERSION:
        raise VersionMismatchError(version, m.OLDEST_PROTOCOL_VERSION, m.PROTOCOL_VERSION)
    if incarnation > _MAX_INCARNATION:
        raise WireError("an incarnation has 63 bits at most")
    fence = Fence(incarnation, attempt) if incarnation or attempt else NO_FENCE
    return Header(kind, body_bytes, task_id, fence, frames, number, sequence)


def is_work(head: Buffer) -> bool:
    """Return whether a multipart message with this head carries tasks or results.

    Asked of a link that keeps them apart: then all items of a head are of one sort.
    """
    kind = head[3]
    return kind in _WORK or (kind != CREDIT and any(head[8:12]))
