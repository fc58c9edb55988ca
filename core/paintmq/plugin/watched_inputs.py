"""Inputs that notice whether a plugin's estimate looks at their digests.

Tasks that differ in nothing else are estimated once. Most models estimate by sizes and options; one
that tells batches apart by a mask's digest must be asked for each task. Which it is shows when it
is asked.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, cast

from attrs import define

from paintmq.task import PayloadInfo

_FIELDS = ("name", "size", "digest", "kind", "dtype", "shape", "width", "height")
_SLOTS: dict[str, Any] = {name: getattr(PayloadInfo, name) for name in _FIELDS}

undigested: Callable[[PayloadInfo], tuple[object, ...]] = attrgetter(
    *[name for name in _FIELDS if name != "digest"]
)
"""Returns all of a description but its digest."""


@define
class Looks:
    """What was looked at so far."""

    at_digests: bool = False


class _WatchedInput(PayloadInfo):
    """A description that is the same in all but this: it notes who reads its digest."""

    __slots__ = ("_looks",)

    @property
    def digest(self) -> str:
        looks: Looks | None = getattr(
            self, "_looks", None
        )  # a plugin's ``evolve`` makes it without
        if looks is not None:
            looks.at_digests = True
        return cast("str", _SLOTS["digest"].__get__(self))

    @digest.setter
    def digest(self, value: str) -> None:
        _SLOTS["digest"].__set__(self, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PayloadInfo):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    __hash__ = PayloadInfo.__hash__


def watched(inputs: Sequence[PayloadInfo], looks: Looks) -> tuple[PayloadInfo, ...]:
    """Return the same inputs, which tell ``looks`` of it when a digest is read or compared."""
    made = []
    for info in inputs:
        one = object.__new__(_WatchedInput)
        for slot in _SLOTS.values():
            slot.__set__(one, slot.__get__(info))
        object.__setattr__(one, "_looks", looks)
        made.append(one)
    return tuple(made)
