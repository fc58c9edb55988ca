"""Messages to bytes and back: a fixed header, then a msgpack body.

A message's ``task_id`` and ``fence`` travel in the header alone. A body without fields is empty.
Whatever the bytes, ``decode`` returns a message or raises WireError: any other exception is a bug.
"""

from collections.abc import Callable
from typing import Any, Never, TypeAlias, cast

import attrs
import msgspec

from paintmq.errors import WireError
from paintmq.task import Buffer, TaskId
from paintmq.wire import messages as m
from paintmq.wire.body_schema import Schema
from paintmq.wire.frames import HEADER_BYTES, KIND_OF, NO_FENCE, NO_TASK, Header, unpack_header
from paintmq.wire.message_class import message_forms

KIB = 1024
MAX_BODY_BYTES = 64 * KIB
LARGE_BODY_BYTES = 1024 * KIB
"""For messages with long lists: answers, batches of tasks, what a restarted peer still holds."""

LARGE: frozenset[type] = frozenset(cls for cls, form in message_forms().items() if form.large)
"""The messages with large bodies."""

Parts: TypeAlias = tuple[Header, bytes]
"""Header and body of an encoded message."""


class _Codec:
    """Encodes and decodes one class of message."""

    def __init__(self, cls: type, kind: int) -> None:
        names = {field.name for field in attrs.fields(cls)}
        self.kind = kind
        self.name = cls.__name__
        self.has_task_id = "task_id" in names
        self.has_fence = "fence" in names
        self.is_submit = cls is m.Submit
        self.max_body_bytes = LARGE_BODY_BYTES if cls in LARGE else MAX_BODY_BYTES
        carried = frozenset(names & {"task_id", "fence"})
        self.schema = Schema(cls, carried)
        self.bodiless = names == carried
        self.decoder = msgspec.msgpack.Decoder(self.schema.struct)
        self.make = cast("Callable[..., m.Message]", cls)
        # Most messages are heartbeats without any field set: skip the codec for those.
        says_nothing = not carried and all(
            f.default is not attrs.NOTHING for f in attrs.fields(cls)
        )
        self.blank = self.make() if says_nothing else None

    def encode(self, message: Any) -> tuple[Header, bytes]:
        if self.blank is not None and message == self.blank:
            return Header(self.kind), b""
        task_id, fence = NO_TASK, NO_FENCE
        if self.has_task_id:
            task_id = bytes.fromhex(message.task_id)
        elif self.is_submit:
            task_id = bytes.fromhex(message.task.id)
        if self.has_fence:
            fence = message.fence
        body = b""
        if not self.bodiless:
            body = _ENCODER.encode(self.schema.to_wire(message))
            if body == _EMPTY_MAP:
                body = b""
        if len(body) > self.max_body_bytes:
            self.refuse_size(len(body))
        return Header(self.kind, len(body), task_id, fence), body

    def decode(self, header: Header, body: Buffer) -> m.Message:
        if self.blank is not None and not body:
            return self.blank
        task_id = TaskId(header.task_id.hex())
        carried: tuple[Any, ...] = ()
        if self.has_task_id:
            carried = (task_id, header.fence) if self.has_fence else (task_id,)
        if self.bodiless:
            if body:
                raise WireError(f"{self.name} has no body")
            made: m.Message = self.schema.made_of(carried)
            return made
        wire = self.decoder.decode(body) if body else self.decoder.decode(_EMPTY_MAP)
        message: m.Message = self.schema.from_wire(wire, carried)
        if self.is_submit and cast("m.Submit", message).task.id != task_id:
            raise WireError("the header of a Submit names another task than its body")
        return message

    def check_body(self, body: Buffer) -> None:
        """Raise MsgspecError unless the body is one that ``decode`` reads."""
        if body:
            self.decoder.decode(body)

    def refuse_size(self, size: int) -> Never:
        raise WireError(f"{self.name} of {size} bytes is too large: {self.max_body_bytes} at most")


_ENCODER = msgspec.msgpack.Encoder()
_EMPTY_MAP = b"\x80"
_CODECS: dict[type, _Codec] = {cls: _Codec(cls, kind) for cls, kind in KIND_OF.items()}
_CODEC_OF_KIND = {codec.kind: codec for codec in _CODECS.values()}


def encode(message: m.Message) -> bytes:
    """Return the message as bytes, without its payloads.

    Raises:
        WireError: it is too large, or holds a value that has no form on the wire.
    """
    header, body = encode_parts(message)
    return header.pack() + body


def encode_parts(message: m.Message, *, check: bool = False) -> Parts:
    """Return header and body apart, so that the header can still be completed.

    ``check``: make sure that a peer could read them. Encoding alone checks no types, ranges or
    lengths but those of JSON values.

    Raises:
        WireError: the message has no such form, or could not be read.
    """
    codec = _CODECS[type(message)]
    try:
        parts = codec.encode(message)
        if check:
            codec.check_body(parts[1])
    except msgspec.MsgspecError as error:
        raise WireError(f"this {codec.name} could not be read: {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise WireError(f"this {type(message).__name__} cannot be sent: {error}") from error
    else:
        return parts


def decode(data: Buffer) -> m.Message:
    """Return the message that ``encode`` made these bytes of.

    Raises:
        WireError: these bytes are no message, or (VersionMismatchError) one of another version.
    """
    header = unpack_header(data)
    if header.body_bytes != len(data) - HEADER_BYTES:
        raise WireError("the body is not as long as its header says")
    return decode_body(header, memoryview(data)[HEADER_BYTES:])


def decode_body(header: Header, body: Buffer) -> m.Message:
    """Return the message with this header and body.

    Raises:
        WireError: there is no such message.
    """
    codec = _CODEC_OF_KIND.get(header.kind)
    if codec is None:
        raise WireError(f"there is no message of kind {header.kind:#04x}")
    if len(body) > codec.max_body_bytes:
        codec.refuse_size(len(body))
    try:
        return codec.decode(header, body)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"this {codec.name} cannot be read: {error}") from error
