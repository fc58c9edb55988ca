"""From the body of a request to a Task: JSON with base64, a form, or one picture as it is.

Rule 1: what a body is, its first bytes tell. Its declared type counts where it says that it is a
form, whose boundary stands there, or JSON that does not look like it, which is refused in words.
Rule 2: a form and a JSON body have the same fields, and a query those of a picture as it is.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from paintmq.client.task import Task
from paintmq.errors import InvalidTaskError
from paintmq.gateway.media_type import JSON
from paintmq.image.formats import format_of

MAX_BATCH = 256
"""Tasks in one request."""


class TaskFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a task may say of itself."""

    model: str
    task_type: str = "plugin"
    options: dict[str, Any] = {}
    inputs: dict[str, bytes] = {}
    """Encoded files, in JSON as base64; never a path or an address."""
    device: str = "auto"
    queue: str = ""
    priority: int = 0
    deadline: float | None = None
    run_limit: float | None = None
    max_attempts: int = 3
    idempotency_key: str | None = None
    strict: bool = False
    webhook: str = ""
    """URL that is told once the task has ended."""

    def task(self) -> Task:
        """Return the task.

        Raises:
            InvalidTaskError: it is none.
        """
        return Task(
            task_type=self.task_type,
            config={**self.options, "model": self.model, "device": self.device},
            inputs=dict(self.inputs),
            priority=self.priority,
            deadline=self.deadline,
            run_limit=self.run_limit,
            max_attempts=self.max_attempts,
            idempotency_key=self.idempotency_key,
            strict=self.strict,
        )


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    tasks: list[TaskFields]


_ONE = msgspec.json.Decoder(TaskFields)
_MANY = msgspec.json.Decoder(_Batch)
_OPTION = "option."
_NUMBERS = ("priority", "deadline", "run_limit", "max_attempts", "strict")
_JSON_BEGINS = b"{"


def is_json(body: bytes | bytearray, declared: str) -> bool:
    """Return whether a body is JSON: by its first bytes, or, if they tell nothing, its type."""
    head = bytes(body[:64])
    if format_of(head) is not None:
        return False
    return head.lstrip().startswith(_JSON_BEGINS) or declared == JSON


def is_batch(body: bytes | bytearray) -> bool:
    """Return whether a JSON body holds several tasks: ``{"tasks": [...]}``."""
    return bytes(body[:64]).lstrip(b" \t\r\n{").startswith(b'"tasks"')


def fields_of_json(body: bytes | bytearray) -> TaskFields:
    """Return what a JSON body says of a task.

    Raises:
        InvalidTaskError: it describes none; the text says where the fault is.
    """
    fields: TaskFields = _decoded(_ONE, body)
    return fields


def fields_of_batch(body: bytes | bytearray) -> list[TaskFields]:
    """Return what a JSON body says of several tasks.

    Raises:
        InvalidTaskError: it describes none, or too many.
    """
    batch: _Batch = _decoded(_MANY, body)
    if not 1 <= len(batch.tasks) <= MAX_BATCH:
        raise InvalidTaskError(f"{len(batch.tasks)} tasks in one request: 1 to {MAX_BATCH}")
    return batch.tasks


def _decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes | bytearray) -> Any:
    try:
        return decoder.decode(body)
    except RecursionError:
        raise InvalidTaskError("the body cannot be read: it is nested too deeply") from None
    except msgspec.MsgspecError as error:
        raise InvalidTaskError(f"the body cannot be read: {error}") from error


def fields_of_texts(
    texts: Iterable[tuple[str, str]], files: Mapping[str, bytes], *, where: str
) -> TaskFields:
    """Return what the texts of a query or a form say: ``model=…&option.radius=5``.

    ``files``: the inputs by name. ``options`` may be one JSON object instead of ``option.NAME``.

    Raises:
        InvalidTaskError: a parameter is unknown, missing or wrong.
    """
    fields: dict[str, Any] = {"inputs": dict(files)}
    options: dict[str, Any] = {}
    for name, text in texts:
        if name.startswith(_OPTION):
            options[name.removeprefix(_OPTION)] = _value(text, where)
        elif name == "options":
            given = _value(text, where)
            if not isinstance(given, dict):
                raise InvalidTaskError(f"the {where}: options is no JSON object")
            options |= given
        else:
            fields[name] = _value(text, where) if name in _NUMBERS else text
    try:
        return msgspec.convert({**fields, "options": options}, TaskFields)
    except msgspec.MsgspecError as error:
        raise InvalidTaskError(f"the {where} cannot be used: {error}") from error


def _value(text: str, where: str) -> Any:
    """Return a number, truth value or list as JSON writes it; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise InvalidTaskError(f"a parameter of the {where} is nested too deeply") from None
