"""From the body of a request to a Task: JSON with base64, or one encoded image."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from paintmq.client.task import Task
from paintmq.errors import InvalidTaskError


class _Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a JSON body may hold."""

    model: str
    task_type: str = "plugin"
    options: dict[str, Any] = {}
    inputs: dict[str, bytes] = {}
    """Encoded files in base64; never a path or an address."""
    device: str = "auto"
    priority: int = 0
    deadline: float | None = None
    run_limit: float | None = None
    max_attempts: int = 3
    idempotency_key: str | None = None


_DECODER = msgspec.json.Decoder(_Body)
_OPTION = "option."
_NUMBERS = ("priority", "deadline", "run_limit", "max_attempts")


def task_of_json(body: bytes) -> Task:
    """Return the task a JSON body describes.

    Raises:
        InvalidTaskError: it describes none; the text says where the fault is.
    """
    try:
        described = _DECODER.decode(body)
    except RecursionError:
        raise InvalidTaskError("the body cannot be read: it is nested too deeply") from None
    except msgspec.MsgspecError as error:
        raise InvalidTaskError(f"the body cannot be read: {error}") from error
    return _task(described)


def task_of_image(body: bytes, query: Iterable[tuple[str, str]]) -> Task:
    """Return the task of one encoded image; the query says the rest: ``model=…&option.radius=5``.

    Raises:
        InvalidTaskError: a parameter is unknown, missing or wrong.
    """
    fields: dict[str, Any] = {"inputs": {"image": body}}
    options: dict[str, Any] = {}
    for name, text in query:
        if name.startswith(_OPTION):
            options[name.removeprefix(_OPTION)] = _value(text)
        else:
            fields[name] = _value(text) if name in _NUMBERS else text
    try:
        return _task(msgspec.convert({**fields, "options": options}, _Body))
    except msgspec.MsgspecError as error:
        raise InvalidTaskError(f"the query cannot be used: {error}") from error


def _value(text: str) -> Any:
    """Return a number, truth value or list as JSON writes it; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise InvalidTaskError("a parameter of the query is nested too deeply") from None


def _task(body: _Body) -> Task:
    return Task(
        task_type=body.task_type,
        config={**body.options, "model": body.model, "device": body.device},
        inputs=dict(body.inputs),
        priority=body.priority,
        deadline=body.deadline,
        run_limit=body.run_limit,
        max_attempts=body.max_attempts,
        idempotency_key=body.idempotency_key,
    )
