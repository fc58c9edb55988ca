"""Many small messages of one kind written as one item, in columns: a run.

Most of what a small task costs on its way is what each of its messages costs: a header, a body that
is decoded, checked and made into a value. In a run, what all members have in common is said once;
the rest are arrays, which msgspec checks in one go.

Rule 1: a run is a way of writing messages, not a message: whoever receives one is told of its
members one by one, in order, as if each had come alone.
Rule 2: equal values are said once only where equal means the same. ``1 == True`` in Python, so JSON
is compared by the bytes it is encoded to.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import repeat
from operator import attrgetter
from typing import Annotated, Any, Union

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from paintmq.errors import WireError
from paintmq.task import Buffer, Fence, Json, TaskRequest
from paintmq.wire import messages as m
from paintmq.wire.body_schema import MAX_INTEGER, field_of, filler
from paintmq.wire.message_class import message_forms

MOST_SENT = 32
"""Members of a run as it is sent: a reader takes turns between peers message by message."""
MOST_RECEIVED = 256
MAX_RUN_BYTES = 1024 * 1024
"""Of the body of a run."""

RUN_KINDS: Mapping[type, int] = {
    cls: form.kind for cls, form in message_forms().items() if form.runs
}
"""The messages that may be written as runs: those that come in large numbers."""
_CLASSES = {kind: cls for cls, kind in RUN_KINDS.items()}

_INCARNATION = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
_ATTEMPT = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
_IDS = Annotated[bytes, Meta(min_length=16, max_length=16 * MOST_RECEIVED)]
_encode = msgspec.msgpack.Encoder().encode
_new = object.__new__


class Column:
    """One field of the members."""

    def __init__(self, field: "attrs.Attribute[Any]") -> None:
        form = field_of(field.type, field.name)
        self.name, self.wire_type = field.name, form.wire_type
        self._to_wire, self._from_wire = form.to_wire, form.from_wire
        self._is_json = field.type == Mapping[str, Json]
        default: Any = field.default
        self._default = default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]  # a class at run time

    def write(self, values: Sequence[Any], same: dict[str, Any], each: dict[str, Any]) -> None:
        """Add the members' values to what they have in common, or to what each has."""
        first, convert = values[0], self._to_wire
        if not self._is_one(values):
            each[self.name] = [convert(value) for value in values] if convert else values
        elif first != self._default:
            same[self.name] = convert(first) if convert else first

    def _is_one(self, values: Sequence[Any]) -> bool:
        first = values[0]
        if not self._is_json:
            return values.count(first) == len(values)
        if not any(values):
            return True
        encoded = _encode(first)
        return all(value is first or _encode(value) == encoded for value in values)

    def read(self, same: Any, each: Any, count: int) -> Any:
        """Return an iterable of so many values."""
        convert = self._from_wire
        values, value = getattr(each, self.name), getattr(same, self.name)
        if values is not UNSET:
            if value is not UNSET or len(values) != count:
                raise WireError(f"a run of {count} with other than {count} of {self.name}")
            return [convert(value) for value in values] if convert else values
        if value is not UNSET:
            return repeat(convert(value) if convert else value, count)
        if self._default is attrs.NOTHING:
            raise WireError(f"a run without {self.name}")
        return repeat(self._default, count)


class _RunForm:
    """Runs of one class of messages. A submission is written as the fields of its task."""

    def __init__(self, cls: type) -> None:
        self._class = cls
        self._of_task = cls is m.Submit
        rows: type = TaskRequest if self._of_task else cls
        self._rows, self._id = rows, "id" if self._of_task else "task_id"
        fields = attrs.fields_dict(rows)
        self._has_fence = "fence" in fields
        self._columns = [Column(f) for name, f in fields.items() if name not in (self._id, "fence")]
        carried = [self._id, "fence"] if self._has_fence else [self._id]
        names = [*carried, *(column.name for column in self._columns)]
        self._get = attrgetter(*names)
        self._fill = [filler(rows, name) for name in names]
        self._fill_task = filler(cls, "task") if self._of_task else None
        types = {column.name: column.wire_type for column in self._columns}
        if self._has_fence:
            types |= {"incarnation": _INCARNATION, "attempt": _ATTEMPT}
        same = _part("Same", types)
        each = _part("Each", {name: _array_of(kind) for name, kind in types.items()})
        body = msgspec.defstruct(
            f"RunOf{cls.__name__}",
            [
                ("ids", _IDS),
                ("same", same, msgspec.field(default_factory=same)),
                ("each", each, msgspec.field(default_factory=each)),
            ],
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decoder = msgspec.msgpack.Decoder(body)

    def encode(self, messages: Sequence[Any]) -> bytes:
        rows = [message.task for message in messages] if self._of_task else messages
        taken = map(self._get, rows)
        values: list[Any] = (
            list(zip(*taken, strict=True)) if len(self._fill) > 1 else [tuple(taken)]
        )
        same: dict[str, Any] = {}
        each: dict[str, Any] = {}
        if self._has_fence:
            fences: Sequence[Fence] = values.pop(1)
            for name in ("incarnation", "attempt"):
                numbers = list(map(attrgetter(name), fences))
                if numbers.count(numbers[0]) == len(numbers):
                    same[name] = numbers[0]
                else:
                    each[name] = numbers
        for column, found in zip(self._columns, values[1:], strict=True):
            column.write(found, same, each)
        body: dict[str, Any] = {"ids": bytes.fromhex("".join(values[0]))}
        if same:
            body["same"] = same
        if each:
            body["each"] = each
        return _encode(body)

    def decode(self, data: Buffer) -> list[Any]:
        body: Any = self._decoder.decode(data)
        digits, same, each = body.ids.hex(), body.same, body.each
        count, rest = divmod(len(digits), 32)
        if rest:
            raise WireError("the ids of a run are not 16 bytes each")
        ids = [digits[start : start + 32] for start in range(0, len(digits), 32)]
        values: list[Any] = [ids]
        if self._has_fence:
            values.append(_fences(same, each, count))
        values += [column.read(same, each, count) for column in self._columns]
        made = []
        rows, fill = self._rows, self._fill
        for row in zip(*values, strict=True):
            one: Any = _new(rows)
            for fill_field, value in zip(fill, row, strict=True):
                fill_field(one, value)
            made.append(one)
        return made if self._fill_task is None else list(map(self._submitting, made))

    def _submitting(self, task: TaskRequest) -> Any:
        submit: Any = _new(self._class)
        assert self._fill_task is not None
        self._fill_task(submit, task)
        return submit


def _fences(same: Any, each: Any, count: int) -> Any:
    """Return an iterable of so many fences."""
    both = []
    for name in ("incarnation", "attempt"):
        numbers, number = getattr(each, name), getattr(same, name)
        if (numbers is UNSET) == (number is UNSET) or (number is UNSET and len(numbers) != count):
            raise WireError(f"a run of {count} with other than {count} of {name}")
        both.append((number, numbers))
    (incarnation, incarnations), (attempt, attempts) = both
    if incarnations is attempts is UNSET:
        return repeat(Fence(incarnation, attempt), count)
    return map(
        Fence,
        repeat(incarnation, count) if incarnations is UNSET else incarnations,
        repeat(attempt, count) if attempts is UNSET else attempts,
    )


def _array_of(kind: Any) -> Any:
    inner: Any = kind
    return Annotated[list[inner], Meta(max_length=MOST_RECEIVED)]


def _part(name: str, types: Mapping[str, Any]) -> Any:
    fields = [(key, Union[kind, UnsetType], UNSET) for key, kind in types.items()]  # noqa: UP007 -- Annotated types have no |
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False)


@cache
def _form_of(cls: type) -> _RunForm:
    return _RunForm(cls)


def encode_run(messages: Sequence[m.Message]) -> bytes:
    """Return the body of a run of these messages, all of one class of ``RUN_KINDS``.

    Raises:
        WireError: it would be too large, or a value has no form on the wire.
    """
    cls: type = type(messages[0])
    try:
        body = _form_of(cls).encode(messages)
    except (
        msgspec.MsgspecError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise WireError(f"this run of {cls.__name__} cannot be sent: {error}") from error
    if len(body) > MAX_RUN_BYTES:
        raise WireError(f"a run of {cls.__name__} of {len(body)} bytes is too large")
    return body


def decode_run(kind: int, body: Buffer) -> list[m.Message]:
    """Return the members of a run of messages of this kind.

    Raises:
        WireError: there is no such run.
    """
    cls = _CLASSES.get(kind)
    if cls is None:
        raise WireError(f"messages of kind {kind:#04x} do not come in runs")
    if len(body) > MAX_RUN_BYTES:
        raise WireError(f"a run of {cls.__name__} of {len(body)} bytes is too large")
    decode: Callable[[Buffer], list[m.Message]] = _form_of(cls).decode
    try:
        return decode(body)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WireError(f"this run of {cls.__name__} cannot be read: {error}") from error
