"""How attrs values become msgpack bodies and back, with every type and limit checked.

Each attrs class of the protocol gets a msgspec Struct with the same fields. Msgspec checks types,
ranges and lengths while it decodes, in C. Fields that hold their default are left out; a field
the receiver does not know is refused, so that no request of a peer is silently ignored.
"""

from collections.abc import Callable, Mapping
from functools import cache
from math import isfinite
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, TypeAlias, Union, get_args, get_origin

import attrs
import msgspec
from msgspec import Meta

from paintmq.errors import WireError
from paintmq.task import Fence, Json, PeerId, TaskError, TaskId, TaskState

_new = object.__new__

Convert: TypeAlias = Callable[[Any], Any]

MAX_TEXT = 32_768
"""Characters of one string in a body."""
MAX_ITEMS = 4_096
"""Items of one array in a body."""
MAX_KEYS = 256
"""Keys of one map in a body."""
MAX_DEPTH = 8
"""Levels of lists and objects inside a JSON value."""
MAX_INTEGER = (1 << 63) - 1
MAX_TRACEBACK = 16_384
"""Characters kept of a traceback: its end, where the error is."""
MAX_ERROR_TEXT = 4_096

_TEXT = Annotated[str, Meta(max_length=MAX_TEXT)]
# Nothing the protocol counts or measures is negative, and NaN must not reach a comparison.
_NUMBER = Annotated[float, Meta(ge=0.0, le=1e15)]
_COUNT = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
_TASK_ID = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z", max_length=32)]
_PEER_ID = Annotated[bytes, Meta(max_length=255)]


@attrs.frozen
class _Field:
    """One type on the wire: what msgspec decodes, and how to get there and back."""

    wire_type: Any
    to_wire: Convert | None = None
    """None: the value travels as it is."""
    from_wire: Convert | None = None


class Schema:
    """The body of one attrs class, without the fields its header carries."""

    def __init__(self, cls: type, carried: frozenset[str] = frozenset()) -> None:
        fields = [f for f in attrs.fields(cls) if f.name not in carried]
        fields.sort(key=lambda field: field.default is not attrs.NOTHING)  # as positions demand
        kinds = {f.name: field_of(f.type, f.name) for f in fields}
        self._class = cls
        self._names = tuple(kinds)
        self._to_wire = [(i, k.to_wire) for i, k in enumerate(kinds.values()) if k.to_wire]
        self._from_wire = [(i, k.from_wire) for i, k in enumerate(kinds.values()) if k.from_wire]
        # What a decoder has checked needs no constructor, which takes twice as long.
        if hasattr(cls, "__attrs_post_init__") or any(f.validator or f.converter for f in fields):
            raise TypeError(f"{cls.__name__} does more when it is made than its fields say")
        self._setters = [filler(cls, name) for name in self._names]
        self._carried = [filler(cls, n) for n in ("task_id", "fence") if n in carried]
        self._get = _getter(self._names)
        self.struct = msgspec.defstruct(
            cls.__name__,
            [_struct_field(f, kinds[f.name]) for f in fields],
            omit_defaults=True,
            forbid_unknown_fields=True,
            gc=False,  # it lives for a moment, and nothing in it can refer to it
        )

    def to_wire(self, value: Any) -> Any:
        values = list(self._get(value))
        for place, convert in self._to_wire:
            values[place] = convert(values[place])
        return self.struct(*values)

    def made_of(self, carried: tuple[Any, ...]) -> Any:
        """Return a value that has these fields alone."""
        made: Any = _new(self._class)
        for set_field, value in zip(self._carried, carried, strict=True):
            set_field(made, value)
        return made

    def from_wire(self, body: Any, carried: tuple[Any, ...] = ()) -> Any:
        """Return the value; ``carried`` are the fields that are not in the body, in their order."""
        values = self._get(body)
        if self._from_wire:
            converted = list(values)
            for place, convert in self._from_wire:
                converted[place] = convert(converted[place])
            values = tuple(converted)
        made: Any = _new(self._class)
        for set_field, value in zip(self._setters, values, strict=True):
            set_field(made, value)
        for set_field, value in zip(self._carried, carried, strict=True):
            set_field(made, value)
        return made


def check_json(value: object, depth: int = MAX_DEPTH) -> Json:
    """Return the value if it is JSON within the limits.

    Raises:
        WireError: it is not.
    """
    if type(value) is dict and not value:
        return {}  # as the options of most tasks are
    match value:
        case None | bool() | int():
            pass
        case str():
            if len(value) > MAX_TEXT:
                raise WireError(f"a string of {len(value)} characters is too long")
        case float():
            if not isfinite(value):
                raise WireError(f"{value} is no JSON number")
        case list() | tuple():
            _check_level(depth, len(value), MAX_ITEMS)
            for item in value:
                check_json(item, depth - 1)
        case Mapping():
            _check_level(depth, len(value), MAX_ITEMS)
            for key, item in value.items():
                if not isinstance(key, str):
                    raise WireError(f"a key of type {type(key).__name__} is no JSON key")
                check_json(item, depth - 1)
        case _:
            raise WireError(f"a value of type {type(value).__name__} is no JSON value")
    return value  # type: ignore[return-value]  # every part of it was checked


def _check_level(depth: int, items: int, most: int) -> None:
    if depth == 0:
        raise WireError(f"a JSON value is nested more than {MAX_DEPTH} levels deep")
    if items > most:
        raise WireError(f"{items} items are too many: {most} at most")


@cache
def schema_of(cls: type) -> Schema:
    return Schema(cls)


def filler(cls: type, name: str) -> Callable[[Any, Any], None]:
    """Return what fills a slot of a value that is being made, frozen as it will be."""
    fill: Callable[[Any, Any], None] = getattr(cls, name).__set__
    return fill


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    match names:
        case ():
            return lambda value: ()
        case (name,):
            get_one = attrgetter(name)
            return lambda value: (get_one(value),)
        case _:
            return attrgetter(*names)


def _struct_field(field: "attrs.Attribute[Any]", kind: _Field) -> tuple[str, Any, Any]:
    if field.default is attrs.NOTHING:
        return field.name, kind.wire_type, msgspec.NODEFAULT
    if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]  # a class at run time
        return field.name, kind.wire_type, msgspec.field(default_factory=dict)
    return field.name, kind.wire_type, field.default


def _shortened(error: TaskError) -> TaskError:
    """Cut the texts of an error: an ending must get through, however long its messages are."""
    return attrs.evolve(
        error,
        message=error.message[:MAX_ERROR_TEXT],
        traceback=error.traceback[-MAX_TRACEBACK:],
    )


_FENCE: Any = msgspec.defstruct(
    "Fence",
    [("incarnation", _COUNT), ("attempt", _COUNT)],
    forbid_unknown_fields=True,
    gc=False,
)

_PLAIN: dict[Any, Any] = {
    str: _TEXT,
    int: _COUNT,
    float: _NUMBER,
    bool: bool,
    NoneType: None,
    TaskId: _TASK_ID,
    PeerId: _PEER_ID,
    TaskState: TaskState,
}


def field_of(kind: Any, name: str) -> _Field:
    """Return how a field of this type travels.

    Raises:
        TypeError: a message was given a field of a type this protocol has no form for.
    """
    if isinstance(kind, NewType) or kind in _PLAIN:
        return _Field(_PLAIN[kind])
    if kind == Json:
        return _Field(Any, check_json, check_json)
    if kind is Fence:  # a tuple here, as it is looked up often, and a map on the wire
        return _Field(
            _FENCE,
            lambda fence: _FENCE(*fence),
            lambda wire: Fence(wire.incarnation, wire.attempt),
        )
    if attrs.has(kind):
        schema = schema_of(kind)
        if kind is TaskError:
            return _Field(
                schema.struct, lambda error: schema.to_wire(_shortened(error)), schema.from_wire
            )
        return _Field(schema.struct, schema.to_wire, schema.from_wire)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _Field(kind)
    if origin is tuple:
        return _tuple_field(arguments, name)
    if origin is Mapping:
        return _mapping_field(arguments[1], name)
    if origin in {Union, UnionType} and NoneType in arguments:
        return _optional_field(next(a for a in arguments if a is not NoneType), name)
    raise TypeError(f"a field `{name}` of type {kind} has no form on the wire")


def _tuple_field(arguments: tuple[Any, ...], name: str) -> _Field:
    if arguments[-1] is not Ellipsis:
        items = [field_of(a, name) for a in arguments]
        converts = [(i.to_wire, i.from_wire) for i in items]
        return _Field(
            tuple[*(i.wire_type for i in items)],  # type: ignore[misc]  # built at run time
            lambda value: tuple(
                to(v) if to else v for v, (to, _) in zip(value, converts, strict=True)
            ),
            lambda value: tuple(
                of(v) if of else v for v, (_, of) in zip(value, converts, strict=True)
            ),
        )
    item = field_of(arguments[0], name)
    inner: Any = item.wire_type
    wire_type = Annotated[tuple[inner, ...], Meta(max_length=MAX_ITEMS)]
    to_wire, from_wire = item.to_wire, item.from_wire
    if to_wire is None or from_wire is None:
        return _Field(wire_type)
    return _Field(
        wire_type,
        lambda value: tuple([to_wire(v) for v in value]),
        lambda value: tuple([from_wire(v) for v in value]),
    )


def _mapping_field(kind: Any, name: str) -> _Field:
    item = field_of(kind, name)
    inner: Any = item.wire_type
    wire_type = Annotated[dict[_TEXT, inner], Meta(max_length=MAX_KEYS)]
    if item.to_wire is None:
        return _Field(wire_type, dict)
    return _Field(wire_type, check_json, check_json)  # Json is the only other kind of value


def _optional_field(kind: Any, name: str) -> _Field:
    item = field_of(kind, name)
    to_wire, from_wire = item.to_wire, item.from_wire
    inner: Any = item.wire_type
    wire_type: Any = Union[inner, None]  # noqa: UP007 -- Annotated types have no |
    if to_wire is None or from_wire is None:
        return _Field(wire_type)
    return _Field(
        wire_type,
        lambda value: None if value is None else to_wire(value),
        lambda value: None if value is None else from_wire(value),
    )
