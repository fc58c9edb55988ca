"""The worst a plugin's function may do: odd values, and exceptions of all kinds."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

from paintmq.errors import Cancelled, InvalidInputError


class MuteError(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise SystemExit(3)


class MuteRefusalError(InvalidInputError):
    """A refusal of a task whose text and code cannot be had."""

    code = property(lambda self: sys.exit(7))

    def __str__(self) -> str:
        raise GeneratorExit


def _raise(*arguments: object) -> NoReturn:
    raise SystemExit(4)


_METHODS = (
    *("repr", "str", "format", "bool", "hash", "eq", "lt", "le", "gt", "ge", "len", "iter"),
    *("contains", "add", "float", "int", "index", "call", "getitem", "reduce_ex"),
)


def _hostile(base: type, **more: Any) -> Any:
    """Return a class that raises wherever it is looked at."""
    return type("Hostile", (base,), {f"__{name}__": _raise for name in _METHODS} | more)


Hostile = _hostile(object, __class__=property(_raise))
OddInt, OddText = _hostile(int), _hostile(str)

EXCEPTIONS: dict[str, BaseException] = {
    "an error": ZeroDivisionError("division by zero"),
    "exit": SystemExit(1),
    "exit with half a character": SystemExit("\ud800"),
    "interrupt": KeyboardInterrupt(),
    "generator exit": GeneratorExit(),
    "stop": StopIteration(),
    "recursion": RecursionError("too deep"),
    "memory": MemoryError(),
    "cancelled": Cancelled(),
    "a group": BaseExceptionGroup("many", [KeyboardInterrupt()]),
    "half a character": ValueError("\ud800 is half a character"),
    "a long text": ValueError("x" * 100_000),
    "mute": MuteError(),
    "a mute refusal": MuteRefusalError(),
}
"""What a plugin's function may raise."""

VALUES: dict[str, Any] = {
    "None": None,
    "digits": "64",
    "half a character": "\ud800",
    "bytes": b"64",
    "nan": float("nan"),
    "infinity": float("inf"),
    "negative": -1,
    "negative fraction": -0.5,
    "beyond floats": 10**400,
    "beyond text": 10**5000,
    "true": True,
    "complex": 1j,
    "list": [1],
    "odd int": OddInt(7),
    "odd text": OddText("seven"),
    "hostile": Hostile(),
    "like a float": type("Odd", (), {"__float__": lambda self: 1.0})(),
}
"""What a plugin's function may return where a positive number is wanted."""


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a function that takes anything and raises this."""

    def function(*arguments: object, **named: object) -> NoReturn:
        raise error

    return function


def returning(value: Any) -> Callable[..., Any]:
    """Return a function that takes anything and returns this."""
    return lambda *arguments, **named: value
