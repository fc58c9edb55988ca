"""What a Task must be, checked where it is made: type, range and size of every field.

Rule: a limit of the protocol is checked here in the words of the field it belongs to. What slips
through all the same is refused by ``message_check`` before it is sent.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Any, get_args

from paintmq.client.message_check import brief
from paintmq.errors import InvalidOptionError, InvalidTaskError
from paintmq.task import MAX_PRIORITY, MIN_PRIORITY, DeviceChoice, Json, TaskType
from paintmq.wire.body_schema import MAX_DEPTH, MAX_INTEGER, MAX_ITEMS, MAX_KEYS, MAX_TEXT

MAX_SECONDS = 1e15
"""What the protocol carries: 31 million years."""
MAX_NAME = 200
"""Characters of a name: of a model, queue, tenant, input, task type or idempotency key."""
_DEVICES = get_args(DeviceChoice)
_MOST_KNOWN = 1_024

known_names: dict[str, None] = {}
"""Names that were checked before: most programs use the same few for all of their tasks. What is
looked up here must be of the class ``str`` itself."""


def remember_name(name: str) -> None:
    """Record that this name needs no check again. Safe from any thread."""
    if type(name) is str:
        if len(known_names) >= _MOST_KNOWN:
            known_names.clear()  # those in use are soon back
        known_names[name] = None


def checked_task_type(task_type: object) -> str:
    if type(task_type) is str and task_type in known_names:
        return task_type
    if isinstance(task_type, TaskType):
        return task_type.value
    if isinstance(task_type, str) and task_type:
        check_text("task_type", task_type)
        remember_name(task_type)
        return task_type
    known = " or ".join(f"TaskType.{each.name}" for each in TaskType)
    raise InvalidTaskError(
        f"task_type {brief(task_type)} is no task type: use {known}, or the name of a type that an"
        " installed model declares"
    )


def checked_config(config: object) -> dict[str, Any]:
    if type(config) is dict and len(config) == 1:
        model = config.get("model")
        if type(model) is str and model in known_names:
            return {"model": model}
    if type(config) is not dict and not isinstance(config, Mapping):
        raise InvalidTaskError(
            f"config must be a mapping such as {{'model': 'opencv'}}, not {shown(config)}"
        )
    if len(config) > MAX_KEYS:
        raise InvalidTaskError(f"config has {len(config)} entries: {MAX_KEYS} at most")
    checked = {}
    for key, value in config.items():
        if not isinstance(key, str):
            raise InvalidTaskError(f"config has the key {brief(key)}: keys must be text")
        check_text("an option's name", key, error=InvalidOptionError)
        checked[key] = _plain(key, value, MAX_DEPTH - 1)
    model = checked.get("model")
    if not isinstance(model, str) or not model:
        found = f"config['model'] is {brief(model)}" if "model" in checked else None
        raise InvalidTaskError(
            f"{found or 'config names no model'}: give the name of one, such as {{'model':"
            " 'opencv'}"
        )
    check_text("config['model']", model)
    remember_name(model)
    if checked.get("device", "auto") not in _DEVICES:
        raise InvalidTaskError(
            f"config['device'] is {brief(checked['device'])}: use {', '.join(_DEVICES)}"
        )
    return checked


def _plain(name: str, value: object, depth: int) -> Json:
    """Return the value as JSON has it, NumPy's numbers included."""
    if type(value) is str and len(value) <= MAX_TEXT and value.isascii():
        return value
    match value:
        case None | bool():
            return value
        case int():
            if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
                raise InvalidOptionError(f"option {name!r} is {shown(value)}: 64 bits at most")
            return value
        case float():
            if not isfinite(value):
                raise InvalidOptionError(f"option {name!r} is {value}: use a finite number")
            return value
        case str():
            check_text(f"option {name!r}", value, most=MAX_TEXT, error=InvalidOptionError)
            return value
        case Mapping() | list() | tuple() if depth == 0 or len(value) > MAX_ITEMS:
            raise InvalidOptionError(
                f"option {name!r} is {shown(value)}: {MAX_ITEMS} items and {MAX_DEPTH - 1} levels"
                " of lists and tables at most"
            )
        case Mapping():
            return {
                _checked_key(name, key): _plain(f"{name}.{key}"[:80], each, depth - 1)
                for key, each in value.items()
            }
        case list() | tuple():
            return [_plain(name, each, depth - 1) for each in value]
        case _:
            return _plain_number(name, value, depth)


def _checked_key(name: str, key: object) -> str:
    text = str(key)
    check_text(f"a key of option {name!r}", text, most=MAX_TEXT, error=InvalidOptionError)
    return text


def _plain_number(name: str, value: object, depth: int) -> Json:
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        number = item()
        if isinstance(number, bool | int | float | str):
            return _plain(name, number, depth)
    raise InvalidOptionError(
        f"option {name!r} is {shown(value)}: use text, numbers, true or false, lists or tables of"
        " them; images belong in inputs"
    )


def check_priority(priority: object) -> None:
    # True is an int to Python, and surely a mistake as a priority.
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidTaskError(
            f"priority {brief(priority)} must be a whole number from {MIN_PRIORITY} to"
            f" {MAX_PRIORITY}"
        )
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidTaskError(
            f"priority {brief(priority)} is out of range: {MIN_PRIORITY} to {MAX_PRIORITY}, higher"
            " sooner"
        )


def check_seconds(name: str, seconds: object) -> None:
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidTaskError(f"{name} {brief(seconds)} must be a number of seconds, or None")
    if not 0 < seconds <= MAX_SECONDS:  # also refuses NaN
        raise InvalidTaskError(
            f"{name} {brief(seconds)} must be more than 0 seconds and at most {MAX_SECONDS:g},"
            " or None for none"
        )


def check_attempts(max_attempts: object) -> None:
    is_number = isinstance(max_attempts, int) and not isinstance(max_attempts, bool)
    if not is_number or not 1 <= max_attempts <= MAX_INTEGER:  # type: ignore[operator]  # a number
        raise InvalidTaskError(
            f"max_attempts {brief(max_attempts)} must be a whole number from 1 to {MAX_INTEGER}"
        )


def check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidTaskError(f"{name} {shown(value)} must be True or False")


def check_text(
    name: str, text: object, *, most: int = MAX_NAME, error: type[InvalidTaskError] | None = None
) -> None:
    """Check that it is text of at most that many characters which UTF-8 can carry."""
    if type(text) is str and len(text) <= most and text.isascii():
        return  # as nearly all of it is
    kind = error or InvalidTaskError
    if not isinstance(text, str) or len(text) > most:
        raise kind(f"{name} {shown(text)} must be text of at most {most:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise kind(f"{name} {shown(text)} holds half a surrogate pair: no UTF-8 has it") from None


def shown(value: object) -> str:
    """Return the value's type and the start of its repr."""
    return f"{type(value).__name__} {brief(value)}"
