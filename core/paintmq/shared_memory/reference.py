"""The name of a payload's place in an arena, as it travels. Pure."""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from paintmq.errors import WireError
from paintmq.task import Buffer

PAGE = 4096
"""Places begin at multiples of it. Systems with larger pages do not share: see ``memory_file``."""
HEADER_BYTES = 64
"""In front of each payload: what it is. A multiple of the alignment of any array."""

_REFERENCE = Struct(">II16sQQQQQ")
_HEADER = Struct("<8sQQ")
_MAGIC = b"paintmq1"
REFERENCE_BYTES = _REFERENCE.size


class Whereabouts(NamedTuple):
    """Where the file of an arena can be opened: a descriptor of some process."""

    process: int
    descriptor: int
    arena: bytes
    """Its name, 16 random bytes."""


class Span(NamedTuple):
    """Room in an arena."""

    offset: int
    bytes: int
    fence: int


NO_ROOM = Span(0, 0, 0)


class Reference(NamedTuple):
    """A payload in an arena; how long it is, its PayloadInfo says."""

    where: Whereabouts
    offset: int
    fence: int
    room: Span = NO_ROOM
    """With an input: where its task's outputs may be put."""

    def pack(self) -> bytes:
        return _REFERENCE.pack(*self.where, self.offset, self.fence, *self.room)


def packed(references: Sequence[Reference]) -> bytes:
    return b"".join(reference.pack() for reference in references)


def unpacked(data: Buffer, count: int) -> list[Reference]:
    """Return so many references.

    Raises:
        WireError: there are more or fewer.
    """
    if len(data) != count * REFERENCE_BYTES:
        raise WireError(f"{len(data)} bytes are not {count} references to shared memory")
    found = []
    for values in _REFERENCE.iter_unpack(data):
        process, descriptor, arena, offset, fence, *room = values
        where = Whereabouts(process, descriptor, arena)
        found.append(Reference(where, offset, fence, Span(*room)))
    return found


def place_bytes(size: int) -> int:
    """Return how many bytes of an arena a payload of this size takes up."""
    return -(-(HEADER_BYTES + size) // PAGE) * PAGE


def header(fence: int, size: int) -> bytes:
    """Return what stands in front of a payload."""
    return _HEADER.pack(_MAGIC, fence, size)


def has_header(place: Buffer, fence: int, size: int) -> bool:
    """Return whether this place was written for that use."""
    return bytes(place[: _HEADER.size]) == header(fence, size)
