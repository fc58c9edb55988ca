"""How agent and host messages become bytes on a stream, and bytes messages again. Pure.

A frame is a header of 5 bytes (length of the body, little-endian; kind), a msgpack body, and the
payloads the body announces, one after the other. Payload bytes are received straight into the
buffer in which they stay. If the kind has its highest bit set, 8 bytes follow the body instead:
where the payloads begin in the sender's arena (``arena.py``). With the second highest, references
to payloads in arenas of clients do (``shared_memory``). A frame of kind 63 has no message:
its body is a list of places, of 8 bytes each, that the peer may use again. Both ends are one
installation: there are no versions, only limits.
"""

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from attrs import define, field, frozen

from paintmq.errors import WireError
from paintmq.shared_memory.ranges import place_of
from paintmq.shared_memory.reference import REFERENCE_BYTES, packed, unpacked
from paintmq.shared_memory.worker_arenas import OpenArenas
from paintmq.task import Buffer
from paintmq.units import MIB
from paintmq.wire.transfer import Payload, pieces_of, size_of
from paintmq.worker.channel.arena import SHARED_FROM, IncomingArena, OutgoingArena
from paintmq.worker.channel.messages import FromHost, HostMessage, ToHost, payloads_of_host_message

_HEADER = struct.Struct("<IB")
_PLACE = struct.Struct("<Q")
_SHARED = 0x80
_REFERRED = 0x40
_UNUSED = 0x3F
_KINDS: tuple[type, ...] = (*get_args(ToHost), *get_args(FromHost))
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_DECODERS: list[msgspec.msgpack.Decoder[Any]] = [msgspec.msgpack.Decoder(kind) for kind in _KINDS]
_ENCODER = msgspec.msgpack.Encoder()

MAX_BODY = 16 * MIB
"""Most bytes of a message without its payloads; beyond it the peer is broken."""
READ_AHEAD = 64 * 1024


def encode(
    message: HostMessage, payloads: Sequence[Payload] = (), arena: OutgoingArena | None = None
) -> list[memoryview]:
    """Return what to write for the message, in order; large payloads go into the arena, if any.

    Others are not copied.

    Raises:
        ValueError: the payloads are not those that the message describes.
    """
    infos = payloads_of_host_message(message)
    sizes = [size_of(payload) for payload in payloads]
    if sizes != [info.size for info in infos]:
        raise ValueError(f"payloads do not match what {type(message).__name__} describes")
    body = _ENCODER.encode(message)
    number = _NUMBERS[type(message)]
    found = [place_of(payload) for payload in payloads]
    references = packed([each.reference for each in found if each is not None])
    if found and None not in found:
        head = _HEADER.pack(len(body), number | _REFERRED) + body + references
        return [memoryview(head)]
    views = [pieces_of(payload) for payload in payloads]
    if arena is not None and sum(sizes) >= SHARED_FROM:
        place = arena.put(views)
        if place is not None:
            head = _HEADER.pack(len(body), number | _SHARED) + body + _PLACE.pack(place)
            return [memoryview(head)]
    head = _HEADER.pack(len(body), number) + body
    return [memoryview(head), *(piece for view in views for piece in view if piece.nbytes)]


def encode_unused(places: Sequence[int]) -> list[memoryview]:
    """Return what to write to give these places in the peer's arena back; nothing for none."""
    if not places:
        return []
    body = b"".join(map(_PLACE.pack, places))
    return [memoryview(_HEADER.pack(len(body), _UNUSED) + body)]


@frozen
class HostDelivery:
    """A message with the payloads that followed it."""

    message: Any
    """A HostMessage; the owner of the reader knows of which direction."""
    payloads: tuple[Buffer, ...]


@frozen
class _Frame:
    kind: int
    body: bytes
    place: int | None
    """Of its payloads in the arena."""
    is_referring: bool
    """Whether references to its payloads follow."""


@define
class FrameReader:
    """Turns a stream into messages: ``recv_into(reader.space())``, then ``received(count)``."""

    max_payload_bytes: int
    incoming: IncomingArena | None = None
    """Where the peer puts payloads."""
    outgoing: OutgoingArena | None = None
    """Of which the peer gives places back."""
    _arenas: OpenArenas = field(factory=OpenArenas, init=False)
    """Of clients, where payloads lie that the peer refers to."""
    _small: memoryview = field(factory=lambda: memoryview(bytearray(READ_AHEAD)), init=False)
    _pending: bytearray = field(factory=bytearray, init=False)
    _message: HostMessage | None = field(default=None, init=False)
    _payloads: Sequence[Buffer] = field(factory=list[Buffer], init=False)
    _references: bytearray = field(factory=bytearray, init=False)
    """To payloads in arenas of clients."""
    _open: deque[memoryview] = field(factory=deque[memoryview], init=False)
    """The unfilled rest of the current message's payloads."""

    def space(self) -> memoryview:
        """Return where to receive the next bytes."""
        if self._open and not self._pending:
            return self._open[0]
        return self._small

    def received(self, count: int) -> list[HostDelivery]:
        """Return the messages completed by the ``count`` bytes received into ``space()``.

        Raises:
            WireError: the stream is malformed; nothing more can be read from it.
        """
        if self._open and not self._pending:
            self._fill_direct(count)
        else:
            self._pending += self._small[:count]
        deliveries = []
        while (delivery := self._next()) is not None:
            deliveries.append(delivery)
        return deliveries

    def _fill_direct(self, count: int) -> None:
        rest = self._open[0][count:]
        if rest.nbytes:
            self._open[0] = rest
        else:
            self._open.popleft()

    def _next(self) -> HostDelivery | None:
        if self._message is None and not self._read_head():
            return None
        while self._open and self._pending:
            count = min(len(self._pending), self._open[0].nbytes)
            self._open[0][:count] = self._pending[:count]
            del self._pending[:count]
            self._fill_direct(count)
        if self._open:
            return None
        assert self._message is not None
        if self._references:
            infos = payloads_of_host_message(self._message)
            self._payloads = self._arenas.views(unpacked(self._references, len(infos)), infos)
            self._references = bytearray()
        delivery = HostDelivery(self._message, tuple(self._payloads))
        self._message, self._payloads = None, []
        return delivery

    def _read_head(self) -> bool:
        while (frame := self._take_frame()) is not None and frame.kind == _UNUSED:
            self._release(frame.body)
        if frame is None:
            return False
        try:
            self._message = _DECODERS[frame.kind].decode(frame.body)
        except msgspec.MsgspecError as error:
            raise WireError(f"a host frame of kind {frame.kind} cannot be read: {error}") from error
        sizes = [info.size for info in payloads_of_host_message(self._message)]
        if any(not 0 <= size <= self.max_payload_bytes for size in sizes):
            raise WireError(f"a payload between agent and host has {max(sizes):,} bytes")
        if frame.is_referring:
            self._references = bytearray(REFERENCE_BYTES * len(sizes))
            self._open.append(memoryview(self._references))
            return True
        if frame.place is not None:
            if self.incoming is None:
                raise WireError("payloads in an arena, and there is none")
            self._payloads = self.incoming.view(frame.place, sizes)
            return True
        if sizes and sum(sizes) <= len(self._pending):
            self._payloads = self._take_small(sizes)
            return True
        buffers = [bytearray(size) for size in sizes]
        self._payloads = [*buffers]
        self._open.extend(memoryview(buffer) for buffer in buffers if buffer)
        return True

    def _take_small(self, sizes: Sequence[int]) -> list[Buffer]:
        """Return payloads that have arrived already: views of one copy of them all."""
        total = sum(sizes)
        view = memoryview(bytes(self._pending[:total]))
        del self._pending[:total]
        payloads: list[Buffer] = []
        start = 0
        for size in sizes:
            payloads.append(view[start : start + size])
            start += size
        return payloads

    def _take_frame(self) -> "_Frame | None":
        if len(self._pending) < _HEADER.size:
            return None
        length, number = _HEADER.unpack_from(self._pending)
        kind = number & ~_SHARED & ~_REFERRED
        if length > MAX_BODY or (kind >= len(_DECODERS) and number != _UNUSED):
            raise WireError(f"a host frame of kind {number} and {length} bytes is malformed")
        body_end = _HEADER.size + length
        end = body_end + (_PLACE.size if number & _SHARED else 0)
        if len(self._pending) < end:
            return None
        place = _PLACE.unpack_from(self._pending, body_end)[0] if end > body_end else None
        body = bytes(self._pending[_HEADER.size : body_end])
        frame = _Frame(kind, body, place, bool(number & _REFERRED))
        del self._pending[:end]
        return frame

    def _release(self, body: bytes) -> None:
        if self.outgoing is None or len(body) % _PLACE.size:
            raise WireError(f"{len(body)} bytes of places in an arena to give back")
        for (place,) in _PLACE.iter_unpack(body):
            self.outgoing.release(place)
