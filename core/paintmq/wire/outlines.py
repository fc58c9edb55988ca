"""Messages that are known to be readable, because others like them were found to be.

What a program or a model has made parts of is encoded and read back before it is sent, as a peer
drops a connection over what it cannot read. Most such messages differ from those before in ids,
digests, sizes and times alone. An *outline* is all the rest; what it leaves out is looked at here.

Rule: equal is not alike. ``1 == True == 1.0``, and a class of somebody else's may equal any text:
an outline names the types of its values. None is the outline of what has to be tried each time.
"""

from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
from attrs import define, field

from paintmq.task import PayloadInfo, TaskRequest
from paintmq.wire.messages import AttemptSucceeded, Message

Outline: TypeAlias = tuple[object, ...]

MOST = 256
"""Outlines that are remembered."""
MOST_TEXT = 4_096
"""Characters of one."""
_LONGEST_DIGEST = 128
_MOST_SECONDS = 1e15

_of_request = attrgetter(
    "task_type",
    "model",
    "device",
    "queue",
    "tenant",
    "priority",
    "expires_in",
    "run_limit",
    "max_attempts",
    "cancel_on_disconnect",
    "strict",
)
_of_payload = attrgetter("name", "kind", "dtype", "width", "height")
_encode = msgspec.msgpack.Encoder().encode


def outline_of_request(request: TaskRequest) -> Outline | None:
    """Return what the submission of a task has in common with others; its id has been checked."""
    values = _of_request(request)
    options: object = b""
    if request.options:
        try:
            options = _encode(request.options)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            return None
    inputs = _of_payloads(request.inputs)
    return None if inputs is None else (values, *map(type, values), options, inputs)


def outline_of(message: Message) -> Outline | None:
    """Return what a worker's message has in common with others of its kind."""
    if type(message) is not AttemptSucceeded:
        return None
    ran: Any = message.ran
    if type(ran) is not float or not 0.0 <= ran <= _MOST_SECONDS:
        return None
    return _of_payloads(message.outputs)


def _of_payloads(infos: tuple[PayloadInfo, ...]) -> Outline | None:
    outline: list[object] = []
    for info in infos:
        digest: Any = info.digest
        if type(digest) is not str or len(digest) > _LONGEST_DIGEST or not digest.isascii():
            return None
        if type(info.size) is not int or info.size < 0:
            return None
        values = _of_payload(info)
        outline += (values, *map(type, values), info.shape, *map(type, info.shape))
    return tuple(outline)


@define
class KnownOutlines:
    """Outlines of messages that were found readable, not too many. For any thread."""

    _known: dict[Outline, None] = field(factory=dict[Outline, None], init=False)

    def has(self, outline: Outline | None) -> bool:
        """Whether a message with this outline was found readable."""
        try:
            return outline in self._known
        except TypeError:  # a list where there should be none
            return False

    def add(self, outline: Outline | None) -> None:
        """Remember that one was."""
        if outline is None or len(repr(outline)) > MOST_TEXT:
            return
        if len(self._known) >= MOST:
            self._known.clear()  # those in use are soon back
        self._known[outline] = None
