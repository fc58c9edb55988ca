"""What a program hands in, seen as the broker will see it, before it enters the conversation.

Rule: what the broker cannot read is refused to its caller and never sent. The broker would drop the
connection because of it, and all other tasks with it; repeated after each reconnect, for ever.
"""

import re
from typing import TypeVar
from uuid import UUID

from paintmq.errors import ConfigError, InvalidTaskError, WireError
from paintmq.task import TaskId, TaskRequest
from paintmq.wire.codec import decode, encode, encode_parts
from paintmq.wire.messages import FromClient, Submit, client_hello
from paintmq.wire.outlines import KnownOutlines, outline_of_request
from paintmq.wire.transfer import MAX_PAYLOADS

MAX_NAME = 255
"""Characters of a client's name; a broker refuses longer introductions."""

M = TypeVar("M", bound=FromClient)

_readable = KnownOutlines()


def as_read(message: M) -> M:
    """Return the message as the broker will read it, encoded and decoded by the same schema.

    The encoder alone does not check types, ranges and lengths. The copy shares nothing with the
    caller's objects, which may change before it is sent.

    Raises:
        WireError: the broker could not read it.
    """
    read = decode(encode(message))
    if not isinstance(read, type(message)):  # cannot happen while kinds are unique
        raise WireError(f"a {type(message).__name__} is read as {type(read).__name__}")
    return read


def check_submission(request: TaskRequest, payloads: int) -> None:
    """Check that the broker can read the submission of a task.

    Raises:
        InvalidTaskError: it cannot.
    """
    if payloads > MAX_PAYLOADS:
        raise InvalidTaskError(f"{payloads} inputs are too many: {MAX_PAYLOADS} at most")
    outline = outline_of_request(request)
    if _readable.has(outline):
        return
    try:
        encode_parts(Submit(request), check=True)
    except WireError as error:
        raise InvalidTaskError(f"the task cannot be submitted: {error}") from error
    _readable.add(outline)


def checked_name(name: str) -> str:
    """Return the name a client introduces itself by.

    Raises:
        ConfigError: a broker would not take it.
    """
    try:
        as_read(client_hello(name))
    except WireError as error:
        raise ConfigError(f"name {brief(name)} cannot be a client's: {error}") from error
    if len(name) > MAX_NAME:
        raise ConfigError(f"a client's name of {len(name)} characters: {MAX_NAME} at most")
    return name


def task_id_of(given: object) -> TaskId:
    """Return the task id that was given as text, in any usual form of a UUID, or as a UUID.

    Raises:
        InvalidTaskError: it is none.
    """
    if isinstance(given, UUID):
        return TaskId(given.hex)
    if isinstance(given, str) and _UUID.fullmatch(given):
        return TaskId(given.replace("-", "").lower())
    raise InvalidTaskError(
        f"id {brief(given)} is no task id: 32 hexadecimal digits, as handle.id has them"
    )


def brief(value: object) -> str:
    """Return the start of the value's repr: enough to recognise it by."""
    if isinstance(value, int) and value.bit_length() > 128:  # Python prints no huge ones
        return f"an int of {value.bit_length()} bits"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 -- the repr of a program's own class may raise anything
        return f"an object of {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


_DIGITS = "[0-9a-fA-F]"
_UUID = re.compile(f"{_DIGITS}{{32}}|{_DIGITS}{{8}}(-{_DIGITS}{{4}}){{3}}-{_DIGITS}{{12}}")
