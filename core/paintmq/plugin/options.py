"""A model's options: from JSON to an instance of its attrs class and back, and as a table.

Rule 1: a client's options are checked completely before its task is queued, and every refusal
names the option, the value and what is allowed.
Rule 2: nothing is guessed: ``"5"`` is no number and ``1`` is no truth value. An int becomes a
float where a float is wanted, because JSON does not distinguish them.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from paintmq.errors import InvalidOptionError, PluginError, PluginStuck, said_by, shown
from paintmq.task import Json

_MANY = 12
"""Choices of a Literal or Enum that an error lists; further ones are only counted."""


class _WrongValueError(Exception):
    """A value does not fit; the text says what would."""


@frozen
class _Kind:
    """A type an option may have: how it is described, and how a JSON value becomes one."""

    text: str
    convert: Callable[[object], Any]
    type: str = "any"
    choices: tuple[Any, ...] = ()


@frozen(kw_only=True)
class OptionInfo:
    """One option, for ``paintmq models show``."""

    name: str
    kind: str
    """The values it takes: ``whole number``, ``one of a, b`` …"""
    default: Json = None
    required: bool = False
    limits: str = ""
    """What the validators allow: ``at least 1`` …"""
    help: str = ""
    type: str = "any"
    """For a form: ``boolean``, ``integer``, ``number``, ``text``, ``choice`` or ``any``."""
    choices: tuple[Json, ...] = ()
    """What a ``choice`` is between."""
    least: float | None = None
    most: float | None = None
    """Bounds of a number that are allowed themselves; None: there is none, or it is not told."""


@frozen
class _Field:
    attribute: "attrs.Attribute[Any]"
    kind: _Kind

    @property
    def alias(self) -> str:
        """Name of the constructor's argument: the field's without leading underscores."""
        return self.attribute.alias or self.attribute.name


_Fields: TypeAlias = Mapping[str, _Field]


def parse_options(options_class: type, values: Mapping[str, Json], *, model: str = "") -> Any:
    """Return an instance of the options class made from plain JSON values.

    Raises:
        InvalidOptionError: an option is unknown, missing or does not allow its value.
        PluginStuck: a validator was interrupted, as it did not return.
    """
    fields = _fields(options_class)
    owner = f" of model {model}" if model else ""
    for name in values:
        if name not in fields:
            raise InvalidOptionError(f"unknown option {name!r}{owner}{_nearest(name, fields)}")
    arguments: dict[str, Any] = {}
    for name, entry in fields.items():
        if name in values:
            try:
                arguments[entry.alias] = entry.kind.convert(values[name])
            except _WrongValueError as error:
                raise _refusal(name, owner, values[name], f"must be {error}") from None
        elif entry.attribute.default is attrs.NOTHING:
            raise InvalidOptionError(f"option {name!r}{owner} is required: {entry.kind.text}")
    try:
        return options_class(**arguments)
    except PluginStuck:
        raise  # not to be asked again which of them it was
    except BaseException as error:  # noqa: BLE001 -- a plugin's validators may raise anything
        culprit = _culprit(options_class, fields, arguments)
        if culprit is None:
            reason = f"options{owner} do not go together: {said_by(error)}"
            raise InvalidOptionError(reason) from None
        entry, reason = culprit
        name = entry.attribute.name
        raise _refusal(name, owner, values[name], f"must be {reason}") from None


def options_to_json(options: object) -> dict[str, Json]:
    """Return the options as ``parse_options`` takes them."""
    options_class: type = type(options)
    return {name: _plain(getattr(options, name)) for name in _fields(options_class)}


def describe_options(options_class: type) -> list[OptionInfo]:
    """Return a line for each option, in the order the class declares them."""
    return [_describe(entry) for entry in _fields(options_class).values()]


def check_options_class(options_class: object) -> None:
    """Check that options of this class can be read from JSON.

    Raises:
        PluginError: it is no attrs class, or a field has a type that JSON cannot express.
    """
    if not isinstance(options_class, type) or not attrs.has(options_class):
        raise PluginError(f"options must be a frozen attrs class, not {options_class!r}")
    _fields(options_class)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return ``; did you mean 'x'?`` if a known name is close to this one, else nothing."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _nearest(name: str, fields: _Fields) -> str:
    if not fields:
        return "; it has none"
    return nearest(name, list(fields)) or f"; it has {', '.join(fields)}"


def _refusal(name: str, owner: str, value: Json, remedy: str) -> InvalidOptionError:
    return InvalidOptionError(f"option {name!r}{owner} is {shown(value)}, but {remedy}")


def _culprit(
    options_class: type, fields: _Fields, arguments: Mapping[str, Any]
) -> tuple[_Field, str] | None:
    """Return the field whose own value is refused and what would do; None if only a combination is.

    A plugin's own validator keeps its text, also where it stands beside bounds.
    """
    required = {
        entry.alias: arguments[entry.alias]
        for entry in fields.values()
        if entry.attribute.default is attrs.NOTHING
    }
    for entry in fields.values():
        alias = entry.alias
        if entry.attribute.validator is None or alias not in arguments:
            continue
        bounds = _limits(entry.attribute.validator)
        for validator in _parts(entry.attribute.validator):
            try:
                validator(None, entry.attribute, arguments[alias])
            except AttributeError:  # it looks at the instance: try the field alone
                try:
                    options_class(**{**required, alias: arguments[alias]})
                except BaseException as error:  # noqa: BLE001 -- see parse_options
                    return entry, said_by(error)
            except BaseException as error:  # noqa: BLE001 -- see parse_options
                return entry, bounds if _limits(validator) else said_by(error)
    return None


def _parts(validator: Any) -> Sequence[Callable[..., Any]]:
    """Return the validators that a field's validator consists of."""
    inner: Sequence[Callable[..., Any]] | None = getattr(validator, "_validators", None)
    return [validator] if inner is None else [part for each in inner for part in _parts(each)]


def _describe(entry: _Field) -> OptionInfo:
    attribute = entry.attribute
    required = attribute.default is attrs.NOTHING
    default: Any = None if required else attribute.default
    if hasattr(default, "factory"):  # attrs.Factory
        default = default.factory()
    return OptionInfo(
        name=attribute.name,
        kind=entry.kind.text,
        default=_plain(default),
        required=required,
        limits=_limits(attribute.validator),
        help=str(attribute.metadata.get("help", "")),
        type=entry.kind.type,
        choices=tuple(_plain(each) for each in entry.kind.choices),
        least=_bound(attribute.validator, ">="),
        most=_bound(attribute.validator, "<="),
    )


def _bound(validator: object, comparison: str) -> float | None:
    """Return the number that attrs' own validators compare with in this way."""
    inner: Sequence[Any] = getattr(validator, "_validators", (validator,))
    found = [each.bound for each in inner if getattr(each, "compare_op", "") == comparison]
    return found[0] if found and isinstance(found[0], int | float) else None


def _plain(value: object) -> Json:
    match value:
        case Enum():
            return _plain(value.value)
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case Sequence():
            return [_plain(item) for item in value]
        case _ if attrs.has(type(value)):
            return dict(options_to_json(value))
        case _:
            return str(value)


_BOUNDS = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}


def _limits(validator: object) -> str:
    """Describe what attrs' own validators allow; empty for others."""
    inner = getattr(validator, "_validators", None)
    if inner is not None:
        return ", ".join(text for each in inner if (text := _limits(each)))
    if hasattr(validator, "compare_op") and hasattr(validator, "bound"):
        return f"{_BOUNDS.get(validator.compare_op, validator.compare_op)} {validator.bound}"
    if hasattr(validator, "max_length"):
        return f"at most {validator.max_length} long"
    if hasattr(validator, "min_length"):
        return f"at least {validator.min_length} long"
    if hasattr(validator, "pattern"):
        return f"like {validator.pattern.pattern}"
    if hasattr(validator, "options"):
        return _choices([_plain(value) for value in validator.options])
    if hasattr(validator, "validator"):  # optional(...)
        return _limits(validator.validator)
    return ""


def _choices(values: Sequence[object]) -> str:
    shown = ", ".join(str(value) for value in values[:_MANY])
    rest = f" … ({len(values)} in all)" if len(values) > _MANY else ""
    return f"one of {shown}{rest}"


# ---- types -------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _fields(options_class: type) -> _Fields:
    try:
        hints = get_type_hints(options_class)
    except NameError as error:
        raise PluginError(f"{options_class.__qualname__}: {error}") from error
    found = {}
    for attribute in attrs.fields(options_class):
        if attribute.init:
            where = f"{options_class.__qualname__}.{attribute.name}"
            kind = _kind(hints.get(attribute.name, Any), where)
            found[attribute.name] = _Field(attribute, kind)
    return found


def _kind(hint: Any, where: str) -> _Kind:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if hint is Any or hint is Json:
        return _Kind("any JSON value", lambda value: value)
    if origin is Literal:
        return _one_of({value: value for value in arguments})
    if origin in (Union, types.UnionType):
        return _any_of([_kind(each, where) for each in arguments])
    if origin in (tuple, list, Sequence):
        return _many_of(list if origin is list else tuple, arguments, where)
    if origin in (dict, Mapping):
        return _mapping_of(_kind(arguments[1], where))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _one_of({member.value: member for member in hint})
    if isinstance(hint, type) and attrs.has(hint):
        return _Kind("a table", lambda value: _nested(hint, value))
    raise PluginError(f"{where} has type {hint!r}, which JSON cannot express")


def _simple(text: str, accepted: type | tuple[type, ...], kind: str) -> _Kind:
    def convert(value: object) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and accepted is not bool):
            raise _WrongValueError(text)
        return value

    return _Kind(text, convert, kind)


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _WrongValueError("a number")
    try:
        number = float(value)
    except OverflowError:
        raise _WrongValueError("a number") from None
    if not isfinite(number):
        raise _WrongValueError("a finite number")
    return number


_SIMPLE: Mapping[Any, _Kind] = {
    bool: _simple("true or false", bool, "boolean"),
    int: _simple("a whole number", int, "integer"),
    str: _simple("text", str, "text"),
    float: _Kind("a number", _float, "number"),
    type(None): _simple("null", type(None), "null"),
}


def _one_of(choices: Mapping[Any, Any]) -> _Kind:
    text = _choices(list(choices))

    def convert(value: object) -> Any:
        for known, chosen in choices.items():
            # 1 == True and 1 == 1.0 in Python, not in JSON
            if type(known) is type(value) and known == value:
                return chosen
        hint = nearest(value, [str(known) for known in choices]) if isinstance(value, str) else ""
        raise _WrongValueError(text + hint)

    return _Kind(text, convert, "choice", tuple(choices))


def _any_of(kinds: Sequence[_Kind]) -> _Kind:
    text = " or ".join(kind.text for kind in kinds)

    def convert(value: object) -> Any:
        for kind in kinds:
            try:
                return kind.convert(value)
            except _WrongValueError:
                continue
        raise _WrongValueError(text)

    known = {(kind.type, kind.choices) for kind in kinds if kind.type != "null"}
    only, choices = known.pop() if len(known) == 1 else ("any", ())
    return _Kind(text, convert, only, choices)


def _many_of(make: type, arguments: tuple[Any, ...], where: str) -> _Kind:
    if make is tuple and arguments[-1] is not Ellipsis:
        kinds = [_kind(each, where) for each in arguments]
        text = f"a list of {len(kinds)}: {', '.join(kind.text for kind in kinds)}"
    else:
        kinds = [_kind(arguments[0], where)]
        text = f"a list, each {kinds[0].text}"

    def convert(value: object) -> Any:
        if not isinstance(value, list | tuple):
            raise _WrongValueError(text)
        if make is list or arguments[-1] is Ellipsis:
            return make(kinds[0].convert(item) for item in value)
        if len(value) != len(kinds):
            raise _WrongValueError(text)
        return tuple(kind.convert(item) for kind, item in zip(kinds, value, strict=True))

    return _Kind(text, convert)


def _mapping_of(kind: _Kind) -> _Kind:
    text = f"a table, each {kind.text}"

    def convert(value: object) -> Any:
        if not isinstance(value, Mapping):
            raise _WrongValueError(text)
        return {str(key): kind.convert(item) for key, item in value.items()}

    return _Kind(text, convert)


def _nested(options_class: type, value: object) -> Any:
    if not isinstance(value, Mapping):
        raise _WrongValueError("a table")
    try:
        return parse_options(options_class, value)
    except InvalidOptionError as error:
        raise _WrongValueError(f"right: {error}") from None
