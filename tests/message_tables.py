"""Rows of the tables of ``core/PROTOCOL.md`` about messages, as their classes have them."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType, NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs

from paintmq.statistics import GpuMetrics, SystemMetrics
from paintmq.task import Fence, PayloadInfo, TaskError, TaskId, TaskRequest, TaskState
from paintmq.wire import messages as m
from paintmq.wire.frames import KIND_OF

MAPS = (
    TaskRequest,
    PayloadInfo,
    Fence,
    TaskError,
    m.Assignment,
    m.ResidentModel,
    m.LogLine,
    SystemMetrics,
    GpuMetrics,
)
"""What stands inside bodies."""
_NAMES: dict[object, str] = {
    TaskId: "task id",
    TaskState: "state",
    str: "str",
    bytes: "bytes",
    bool: "bool",
    int: "int",
    float: "float",
}
_LITERALS: Mapping[str, str] = MappingProxyType({"None": "nil", "()": "[]", "b''": 'b""'})
_IN_THE_HEADER = ("task_id", "fence")


def messages_between(first: int, last: int) -> Iterator[str]:
    """One row a message whose kind is in the range: number, name, header, body."""
    yield "| kind | message | header | body |"
    yield "| --- | --- | --- | --- |"
    for cls, kind in sorted(KIND_OF.items(), key=lambda item: item[1]):
        if first <= kind <= last:
            names = [field.name for field in attrs.fields(cls)]
            carried = "T" * ("task_id" in names or cls is m.Submit) + "F" * ("fence" in names)
            yield f"| 0x{kind:02X} | {cls.__name__} | {carried} | {_fields(cls) or '(empty)'} |"


def maps_in_bodies() -> Iterator[str]:
    """One row a map: its name and fields."""
    yield "| map | fields |"
    yield "| --- | --- |"
    for cls in MAPS:
        yield f"| {cls.__name__} | {_fields(cls, header=())} |"


def _fields(cls: type, *, header: tuple[str, ...] = _IN_THE_HEADER) -> str:
    hints = get_type_hints(cls)
    if cls is Fence:
        return "; ".join(f"`{name}` {_kind(hints[name])}" for name in Fence._fields)
    return "; ".join(
        f"`{field.name}` {_kind(hints[field.name])}{_default(field)}"
        for field in attrs.fields(cls)
        if field.name not in header
    )


def _kind(hint: Any) -> str:
    """Return what a type is called on the page."""
    if hint in _NAMES:
        return _NAMES[hint]
    arguments = get_args(hint)
    if (supertype := getattr(hint, "__supertype__", None)) is not None:
        return _kind(supertype)
    if get_origin(hint) is Literal:
        *most, last = (f'`"{choice}"`' for choice in arguments)
        return f"{', '.join(most)} or {last}" if most else last
    if {bool, int, float, str} <= {*arguments}:
        return "JSON"
    if NoneType in arguments:
        (kind,) = (_kind(each) for each in arguments if each is not NoneType)
        return f"{kind}?"
    if get_origin(hint) is tuple and arguments[-1] is Ellipsis:
        return f"array of {_kind(arguments[0])}"
    if get_origin(hint) is tuple:
        return f"[{', '.join(map(_kind, arguments))}]"
    if arguments:
        return f"map of {_kind(arguments[-1])}"
    return str(hint.__name__)


def _default(field: "attrs.Attribute[Any]") -> str:
    """Return what a field is when it is left out, as the page writes it."""
    default: Any = field.default
    if default is attrs.NOTHING:
        return ""
    if (factory := getattr(default, "factory", None)) is not None:
        default = factory()
    if isinstance(default, TaskState):
        default = default.value
    return f" = {_LITERALS.get(repr(default)) or json.dumps(default, default=repr)}"
