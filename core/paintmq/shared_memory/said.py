"""What two peers say of memory beside their messages, in SHARE items of their link. Pure.

Broker: PROVE, where a file can be opened. Peer: PROOF, the secret in it. Broker, to a client:
ARENA, where its own is, and where in it outputs begin. Client: RELEASED, the places of outputs that
it has no view of any more.
"""

from collections.abc import Sequence
from struct import Struct, error
from typing import Any, NamedTuple

from paintmq.errors import WireError
from paintmq.shared_memory.reference import Whereabouts
from paintmq.task import Buffer

PROVE, PROOF, ARENA, RELEASED = 1, 2, 3, 4

_WHERE = Struct(">II16s")
_ARENA = Struct(">II16sQ")
_OFFSET = Struct(">Q")


class ArenaSaid(NamedTuple):
    """An arena of a client's own."""

    where: Whereabouts
    outputs_begin: int
    """Before it the client puts inputs, from it on hosts put outputs."""


def say_prove(where: Whereabouts) -> bytes:
    return bytes([PROVE]) + _WHERE.pack(*where)


def say_proof(secret: bytes) -> bytes:
    return bytes([PROOF]) + secret


def say_arena(said: ArenaSaid) -> bytes:
    return bytes([ARENA]) + _ARENA.pack(*said.where, said.outputs_begin)


def say_released(offsets: Sequence[int]) -> bytes:
    return bytes([RELEASED]) + b"".join(map(_OFFSET.pack, offsets))


def kind_of(said: Buffer) -> int:
    """Return which of these it is.

    Raises:
        WireError: nothing was said.
    """
    if not len(said):
        raise WireError("nothing is said of shared memory")
    return said[0]


def where_said(said: Buffer) -> Whereabouts:
    """Raises WireError: it is malformed, as the following."""
    process, descriptor, arena = _read(_WHERE, said)
    return Whereabouts(process, descriptor, arena)


def arena_said(said: Buffer) -> ArenaSaid:
    process, descriptor, arena, outputs_begin = _read(_ARENA, said)
    return ArenaSaid(Whereabouts(process, descriptor, arena), outputs_begin)


def released_said(said: Buffer) -> list[int]:
    try:
        return [offset for (offset,) in _OFFSET.iter_unpack(said[1:])]
    except error as reason:
        raise WireError(f"places in shared memory that make no sense: {reason}") from reason


def _read(layout: Struct, said: Buffer) -> tuple[Any, ...]:
    try:
        return layout.unpack(said[1:])
    except error as reason:
        raise WireError(f"what is said of shared memory makes no sense: {reason}") from reason
