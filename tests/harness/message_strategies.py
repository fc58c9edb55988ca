"""Hypothesis strategies for the messages of the protocol. Needs hypothesis, unlike its neighbours.

Built from the fields of each message, so that a new message or field is covered at once.
"""

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

import attrs
from hypothesis import strategies as st

from paintmq.task import Fence, Json, PayloadInfo, PeerId, TaskId, TaskState
from paintmq.wire.frames import KIND_OF
from paintmq.wire.messages import Message

MESSAGE_CLASSES: Sequence[type[Message]] = tuple(KIND_OF)

task_ids = st.binary(min_size=16, max_size=16).map(lambda data: TaskId(data.hex()))
texts = st.text(max_size=30)
numbers = st.floats(min_value=0, max_value=1e12)
counts = st.integers(min_value=0, max_value=2**32 - 1)
json_values: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
).filter(lambda value: _depth(value) <= 7)


def messages(cls: type[Message]) -> st.SearchStrategy[Message]:
    """Return any message of the class."""
    return cast("st.SearchStrategy[Message]", _values(cls))


any_message: st.SearchStrategy[Message] = st.sampled_from(MESSAGE_CLASSES).flatmap(messages)


def payload_infos(sizes: Sequence[int]) -> tuple[PayloadInfo, ...]:
    """Return descriptions of payloads of these sizes."""
    return tuple(
        PayloadInfo(name=f"payload-{index}", size=size, digest="0" * 64, kind="file")
        for index, size in enumerate(sizes)
    )


def _depth(value: Json) -> int:
    match value:
        case list():
            return 1 + max(map(_depth, value), default=0)
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case _:
            return 0


_PLAIN: Mapping[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: counts,
    float: numbers,
    bool: st.booleans(),
    NoneType: st.none(),
    TaskId: task_ids,
    PeerId: st.binary(max_size=16),
    TaskState: st.sampled_from(TaskState),
}


def _values(kind: Any) -> st.SearchStrategy[Any]:
    if kind == Json:
        return json_values
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind is Fence:
        return st.builds(Fence, incarnation=counts, attempt=counts)
    if attrs.has(kind):
        return st.builds(kind, **{f.name: _values(f.type) for f in attrs.fields(kind)})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Mapping:
        return st.dictionaries(texts, _values(arguments[1]), max_size=3)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(_values, arguments))
    assert origin in {Union, UnionType}, kind
    return st.one_of(*map(_values, arguments))
