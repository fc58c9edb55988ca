"""From tables, as TOML gives them, to settings; every problem is named by the key's path.

Nothing is converted silently: text is no number, and 1 is not true.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    StructureHandlerNotFoundError,
)

from paintmq.config import Config
from paintmq.task import Json

KeyPath: TypeAlias = tuple[str, ...]


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(bool, _exactly(bool))
    converter.register_structure_hook(int, _exactly(int))
    converter.register_structure_hook(str, _exactly(str))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook_func(lambda kind: kind == Json, _json)
    converter.register_structure_hook_func(is_choice, _choice)
    converter.register_structure_hook_func(is_optional, _optional(converter))
    converter.register_structure_hook_func(is_texts, _texts)
    return converter


def structure_config(raw: Mapping[str, Any]) -> Config:
    queues = {name: queue for name, queue in raw["queues"].items() if queue is not False}
    return _make_converter().structure({**raw, "queues": queues}, Config)


def problems_in(raw: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the tables, one line a problem."""
    if not isinstance(raw.get("queues", {}), Mapping):
        return [f"queues: expected a table, got {_shown(raw['queues'])}"]
    try:
        structure_config(raw)
    except ClassValidationError as error:
        return list(_explained(error, ()))
    return []


def _explained(error: BaseException, path: KeyPath) -> Iterator[str]:
    where = ".".join(path)
    match error:
        case ClassValidationError() | IterableValidationError():
            noted, others = error.group_exceptions()
            for inner, note in noted:
                key = getattr(note, "name", None) or getattr(note, "index", "?")
                yield from _explained(inner, (*path, str(key)))
            for inner in others:
                yield from _explained(inner, path)
        case ForbiddenExtraKeysError():
            for key in sorted(error.extra_fields):
                yield f"{'.'.join((*path, key))}: unknown key{nearest_key(key, path, error.cl)}"
        case StructureHandlerNotFoundError() | AttributeError() | TypeError() if path:
            yield f"{where}: expected a table"
        case _:  # a validator names its own key first: "port = 70000 is no port"
            text = str(error)
            joint = "." if " = " in text.split(":")[0] else ": "
            yield f"{where}{joint if where else ''}{text}"


def nearest_key(key: str, path: KeyPath, kind: type) -> str:
    valid = [attribute.name for attribute in attrs.fields(kind)]
    if close := get_close_matches(key.lower().replace("-", "_"), valid, n=1):
        return f"; did you mean {'.'.join((*path, close[0]))!r}?"
    elsewhere = [
        f"{section.name}.{key}"
        for section in attrs.fields(Config)
        if section.type is not None
        and attrs.has(section.type)
        and hasattr(attrs.fields(section.type), key)
    ]
    if elsewhere:
        return f"; did you mean {elsewhere[0]!r}?"
    return f"; valid keys here: {', '.join(valid)}"


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_NAMES: Mapping[object, str] = {bool: "true or false", int: "a whole number", str: "text"}


def _exactly(kind: type) -> Any:
    def structure(value: object, _: object) -> object:
        if type(value) is not kind:
            raise ValueError(f"expected {_NAMES[kind]}, got {_shown(value)}")
        return value

    return structure


def _number(value: object, _: object) -> float:
    if type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]  # just asked
    raise ValueError(f"expected a number, got {_shown(value)}")


def _json(value: object, _: object) -> Json:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_json(item, None) for item in value]
        case dict():
            return {str(key): _json(item, None) for key, item in value.items()}
        case _:
            raise ValueError(f"dates and times have no use here: {_shown(str(value))}")


def _choices(kind: object) -> tuple[str, ...]:
    """Return the texts a Literal, or a union of Literals, allows."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(text for part in get_args(kind) for text in _choices(part))


def is_choice(kind: object) -> bool:
    if get_origin(kind) is Literal:
        return True
    return len(get_args(kind)) > 1 and all(get_origin(part) is Literal for part in get_args(kind))


def _choice(value: object, kind: object) -> object:
    valid = _choices(kind)
    if value in valid:
        return value
    close = get_close_matches(str(value), valid, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{_shown(value)} is none of {', '.join(map(repr, valid))}{hint}")


def is_optional(kind: object) -> bool:
    return type(None) in get_args(kind) and len(get_args(kind)) == 2


def _optional(converter: cattrs.Converter) -> Any:
    def structure(value: object, kind: object) -> object:
        (inner,) = (part for part in get_args(kind) if part is not type(None))
        return None if value is None else converter.structure(value, inner)

    return structure


def is_texts(kind: object) -> bool:
    return get_origin(kind) is tuple and get_args(kind) == (str, ...)


def _texts(value: object, _: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError(f'expected a list of texts such as ["a", "b"], got {_shown(value)}')
