"""The fixed header in front of every message.

Rule: bytes 0 to 3 (magic, version, kind) and the layouts of both hellos and of Refused never
change, so that peers of any two versions can tell each other why they disconnect.
"""

from struct import Struct
from typing import NamedTuple

from paintmq.errors import VersionMismatchError, WireError
from paintmq.task import Buffer, Fence
from paintmq.wire import messages as m
from paintmq.wire.message_class import FIRST_OF_LINK, message_forms

MAGIC = b"PQ"
NO_TASK = bytes(16)
NO_FENCE = Fence(0, 0)

CHUNK = FIRST_OF_LINK
"""Not a message: the next pieces of a transfer follow."""
CREDIT = FIRST_OF_LINK + 1
"""Not a message: the receiver has taken ``number`` bursts and is ready for as many more."""
SHARE = FIRST_OF_LINK + 2
"""Not a message: something is said of memory that both peers have, see ``sharing.py``."""
REFERENCES = 0xFFFF
"""As ``sequence`` of a message outside transfers: one frame names where its payloads lie."""
RUN = 0xFFFE
"""As ``sequence`` outside transfers: the body tells of many messages of this kind, see
``runs.py``."""

_FORMS = message_forms()
KIND_OF: dict[type[m.Message], int] = {cls: form.kind for cls, form in _FORMS.items()}
"""Every message, in order of its number."""

_WORK = frozenset({CHUNK, *(form.kind for form in _FORMS.values() if form.work)})

# magic, version, kind, sequence, frames, number, body size, task id, incarnation, attempt
_LAYOUT = Struct(">2sBBHHII16sQI")
HEADER_BYTES = _LAYOUT.size

_new = tuple.__new__

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

    def pack(self, *, frames: int = 0) -> bytes:
        """Return its bytes, with so many payload frames unless it says how many itself."""
        kind, body_bytes, task_id, fence, own, number, sequence = self
        return _LAYOUT.pack(
            MAGIC,
            m.FRAMING_VERSION,
            kind,
            sequence,
            own or frames,
            number,
            body_bytes,
            task_id,
            fence.incarnation,
            fence.attempt,
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
    if version != m.FRAMING_VERSION:
        raise VersionMismatchError(version, m.FRAMING_VERSION, m.FRAMING_VERSION)
    if incarnation > _MAX_INCARNATION:
        raise WireError("an incarnation has 63 bits at most")
    fence = Fence(incarnation, attempt) if incarnation or attempt else NO_FENCE
    # As Header(...) does, by a call less: it is made for every message.
    return _new(Header, (kind, body_bytes, task_id, fence, frames, number, sequence))


def is_work(head: Buffer) -> bool:
    """Return whether a multipart message with this head carries tasks or results.

    Asked of a link that keeps them apart: then all items of a head are of one sort.
    """
    kind = head[3]
    return kind in _WORK or (kind != CREDIT and any(head[8:12]))
