"""Odd values as text, so that a case can be repeated, and built in another process.

A *recipe* is words with colons: ``int:99999999999999999999``, ``text:90000``, ``evil:__str__:
SystemExit``, ``raise:KeyboardInterrupt``. ``value_of`` makes the value; a recipe that begins with
``raise`` raises instead. The same text gives the same value in a program, a broker or a model host.
"""

import enum
import pathlib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NoReturn

ERRORS: Mapping[str, type[BaseException]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            ValueError,
            TypeError,
            KeyError,
            MemoryError,
            RecursionError,
            StopIteration,
            OSError,
            UnicodeError,
            SystemExit,
            KeyboardInterrupt,
            GeneratorExit,
        )
    }
)
METHODS = (
    *("__str__", "__repr__", "__format__", "__eq__", "__hash__", "__bool__", "__len__", "__iter__"),
    *("__int__", "__index__", "__float__", "__lt__", "__call__", "__getattr__", "__fspath__"),
    *("__getitem__", "__contains__", "__array__", "__buffer__", "keys", "items", "get"),
)
"""Methods of which each may be the one that raises."""


class UntoldError(Exception):
    """Cannot even be put in words."""

    def __str__(self) -> str:
        raise ValueError("this error has no text")

    __repr__ = __str__


class UntoldExit(BaseException):
    """The same, and no Exception."""

    def __str__(self) -> str:
        raise SystemExit("nor this one")

    __repr__ = __str__


class _Colour(enum.Enum):
    RED = "red"


class _Text(str):
    """Text that is of a class of its own."""

    __slots__ = ()


class _Number(int):
    """A number that is of a class of its own, and lies about its text."""

    def __repr__(self) -> str:
        return "lots"


def evil(method: str, error: type[BaseException]) -> object:
    """Return an object of which one method raises."""

    def fail(*arguments: object, **more: object) -> NoReturn:
        raise error(f"{method} was called")

    return type("Evil", (), {method: fail})()


def value_of(recipe: str) -> Any:
    """Make the value, or raise what the recipe says."""
    kind, _, rest = recipe.partition(":")
    return _MAKERS[kind](rest)


def _raise(name: str) -> NoReturn:
    if name == "Untold":
        raise UntoldError
    if name == "UntoldExit":
        raise UntoldExit
    raise ERRORS[name]("as the recipe says")


def _evil(rest: str) -> object:
    method, _, error = rest.partition(":")
    return evil(method, ERRORS[error])


def _deep(rest: str) -> list[Any]:
    value: list[Any] = []
    for _ in range(int(rest)):
        value = [value]
    return value


def _circle(rest: str) -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def _table(rest: str) -> dict[str, Any]:
    return {f"key{number}": number for number in range(int(rest))}


def _array(rest: str) -> Any:
    import numpy as np

    dtype, _, shape = rest.partition(":")
    return np.zeros(tuple(int(side) for side in shape.split("x") if side), np.dtype(dtype))


def _endless(rest: str) -> Iterator[int]:
    number = 0
    while number < 10**7:  # nothing that is contained takes so many
        yield number
        number += 1


def _generator(rest: str) -> Iterator[int]:
    yield from (1, 2, 3)


_MAKERS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "none": lambda rest: None,
        "true": lambda rest: True,
        "false": lambda rest: False,
        "int": int,
        "power": lambda rest: 10 ** int(rest),
        "minus-power": lambda rest: -(10 ** int(rest)),
        "float": float,
        "complex": lambda rest: 1j,
        "decimal": lambda rest: Decimal(rest or "sNaN"),
        "text": lambda rest: "x" * int(rest),
        "said": str,
        "surrogate": lambda rest: "\ud800" * int(rest or 1),
        "zero-byte": lambda rest: "a\0b",
        "lines": lambda rest: "a\nb\r\n\x1b[31m",
        "own-text": lambda rest: _Text(rest or "own"),
        "own-number": lambda rest: _Number(rest or 3),
        "bytes": lambda rest: b"\xff" * int(rest),
        "list": lambda rest: list(range(int(rest))),
        "set": lambda rest: {1, 2},
        "deep": _deep,
        "circle": _circle,
        "table": _table,
        "odd-keys": lambda rest: {1: 2, None: 3, (1, 2): 4},
        "surrogate-key": lambda rest: {"\udfff": 1},
        "evil-value": lambda rest: {"key": _evil(rest)},
        "array": _array,
        "enum": lambda rest: _Colour.RED,
        "path": lambda rest: pathlib.PurePosixPath("/no/such/file"),
        "class": lambda rest: int,
        "function": lambda rest: _raise,
        "module": lambda rest: enum,
        "object": lambda rest: object(),
        "endless": _endless,
        "generator": _generator,
        "evil": _evil,
        "raise": _raise,
    }
)
