"""How agent and host messages become bytes on a stream, and bytes messages again. Pure.

A frame is a header of 5 bytes (length of the body, little-endian; kind), a msgpack body, and the
payloads the body announces, one after the other. Payload bytes are received straight into the
buffer in which they stay. Both ends are one installation: there are no versions, only limits.
"""

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from attrs import define, field, frozen

from paintmq.errors import WireError
from paintmq.task import Buffer
from paintmq.units import MIB
from paintmq.worker.channel.messages import FromHost, HostMessage, ToHost, payloads_of_host_message

_HEADER = struct.Struct("<IB")
_KINDS: tuple[type, ...] = (*get_args(ToHost), *get_args(FromHost))
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_DECODERS: list[msgspec.msgpack.Decoder[Any]] = [msgspec.msgpack.Decoder(kind) for kind in _KINDS]
_ENCODER = msgspec.msgpack.Encoder()

MAX_BODY = 16 * MIB
"""Most bytes of a message without its payloads; beyond it the peer is broken."""
READ_AHEAD = 64 * 1024


def encode(message: HostMessage, payloads: Sequence[Buffer] = ()) -> list[memoryview]:
    """Return what to write for the message, in order, without copying payloads.

    Raises:
        ValueError: the payloads are not those that the message describes.
    """
    infos = payloads_of_host_message(message)
    views = [memoryview(payload).cast("B") for payload in payloads]
    if [view.nbytes for view in views] != [info.size for info in infos]:
        raise ValueError(f"payloads do not match what {type(message).__name__} describes")
    body = _ENCODER.encode(message)
    head = _HEADER.pack(len(body), _NUMBERS[type(message)]) + body
    return [memoryview(head), *(view for view in views if view.nbytes)]


@frozen
class HostDelivery:
    """A message with the payloads that followed it."""

    message: Any
    """A HostMessage; the owner of the reader knows of which direction."""
    payloads: tuple[Buffer, ...]


@define
class FrameReader:
    """Turns a stream into messages: ``recv_into(reader.space())``, then ``received(count)``."""

    max_payload_bytes: int
    _small: memoryview = field(factory=lambda: memoryview(bytearray(READ_AHEAD)), init=False)
    _pending: bytearray = field(factory=bytearray, init=False)
    _message: HostMessage | None = field(default=None, init=False)
    _payloads: list[bytearray] = field(factory=list[bytearray], init=False)
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
        delivery = HostDelivery(self._message, tuple(self._payloads))
        self._message, self._payloads = None, []
        return delivery

    def _read_head(self) -> bool:
        if len(self._pending) < _HEADER.size:
            return False
        length, number = _HEADER.unpack_from(self._pending)
        if length > MAX_BODY or number >= len(_DECODERS):
            raise WireError(f"a host frame of kind {number} and {length} bytes is malformed")
        end = _HEADER.size + length
        if len(self._pending) < end:
            return False
        try:
            self._message = _DECODERS[number].decode(bytes(self._pending[_HEADER.size : end]))
        except msgspec.MsgspecError as error:
            raise WireError(f"a host frame of kind {number} cannot be read: {error}") from error
        del self._pending[:end]
        sizes = [info.size for info in payloads_of_host_message(self._message)]
        if any(not 0 <= size <= self.max_payload_bytes for size in sizes):
            raise WireError(f"a payload between agent and host has {max(sizes):,} bytes")
        self._payloads = [bytearray(size) for size in sizes]
        self._open.extend(memoryview(payload) for payload in self._payloads if payload)
        return True
