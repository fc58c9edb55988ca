"""Hypothesis strategies: odd recipes, and odd calls derived from the signatures of functions."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.containment.case import Case
from tests.containment.recipes import ERRORS, METHODS

_NUMBERS = (
    *("int:0", "int:-1", "int:1", "int:2147483648", f"int:{2**63}", f"int:-{2**63 + 1}"),
    *(f"int:{2**64}", f"int:{2**80}", "power:400", "power:5000", "minus-power:400"),
    *("float:nan", "float:inf", "float:-inf", "float:-0.0", "float:5e-324", "float:1e300"),
    *("float:1e15", "float:2e15", "float:0.5", "decimal:sNaN", "decimal:1", "complex"),
    *("true", "false", "own-number:3"),
)
_TEXTS = (
    *("text:0", "text:1", "text:200", "text:33000", "text:200000", "text:3000000"),
    *("surrogate", "surrogate:40000", "zero-byte", "lines", "own-text:own"),
    *("said:nan", "said:None", "said:../../etc/passwd", "said:\N{SNOWMAN}", "said:é"),
    *("bytes:0", "bytes:16", "bytes:100000"),
)
_COLLECTIONS = (
    *("list:0", "list:3", "list:3000", "set", "deep:3", "deep:900", "deep:20000", "circle"),
    *("table:0", "table:3", "table:300", "table:3000", "odd-keys", "surrogate-key"),
    *("generator", "endless"),
)
_OBJECTS = ("none", "enum", "path", "class", "function", "module", "object")
_ARRAYS = (
    *("array:uint8:", "array:uint8:0", "array:uint8:0x0x3", "array:uint8:1x1x3", "array:uint8:8x8"),
    *("array:uint8:8x8x5", "array:uint8:8x8x3x3", "array:float64:8x8x3", "array:object:2x2x3"),
    *("array:complex128:4x4x3", "array:datetime64[s]:3", "array:uint16:4x4x3", "array:bool:4x4"),
    *("array:U5:3", "array:uint8:30000x1x3"),
)
RAISES = tuple(f"raise:{name}" for name in (*ERRORS, "Untold", "UntoldExit"))


def evil_objects() -> st.SearchStrategy[str]:
    """Objects of which one method raises, some of them what is no Exception."""
    return st.builds(
        "{}:{}:{}".format,
        st.sampled_from(("evil", "evil", "evil-value")),
        st.sampled_from(METHODS),
        st.sampled_from(tuple(ERRORS)),
    )


def values() -> st.SearchStrategy[str]:
    """Recipes of values of any type."""
    plain = (*_NUMBERS, *_TEXTS, *_COLLECTIONS, *_OBJECTS, *_ARRAYS)
    return st.one_of(st.sampled_from(plain), evil_objects())


def values_like(annotation: object) -> st.SearchStrategy[str]:
    """Recipes of values, half of them of about the type that is asked for, but extreme."""
    text = str(annotation)
    near: Sequence[str] = ()
    if "str" in text or "Path" in text or "TaskId" in text:
        near = _TEXTS
    elif "int" in text or "float" in text:
        near = _NUMBERS
    elif "Mapping" in text or "Iterable" in text or "Sequence" in text or "tuple" in text:
        near = _COLLECTIONS
    elif "bool" in text:
        near = ("none", "int:2", "said:no", "evil:__bool__:SystemExit")
    return st.one_of(st.sampled_from(near), values()) if near else values()


def raising_or_odd() -> st.SearchStrategy[str]:
    """What a function of a plugin may do: raise anything, or return anything."""
    return st.one_of(st.sampled_from(RAISES), values())


def calls(
    door: str, name: str, function: Callable[..., Any], *, keep: Iterable[str] = ()
) -> st.SearchStrategy[Case]:
    """Calls of the function with one to three of its arguments odd; those in ``keep`` never are."""
    parameters = _parameters(function, keep)
    return cases(door, name, {p.name: values_like(p.annotation) for p in parameters})


def public_methods(kind: type, *, but: Iterable[str] = ()) -> Sequence[str]:
    """Return the public methods that take arguments, so that a new one is tried by itself."""
    return [
        name
        for name, function in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name not in but and _parameters(function)
    ]


def _parameters(function: Callable[..., Any], keep: Iterable[str] = ()) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in {"self", *keep}
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def cases(
    door: str, name: str, fields: dict[str, st.SearchStrategy[str]]
) -> st.SearchStrategy[Case]:
    """Cases in which one to three of the fields are odd; none at all where there are none."""
    if not fields:
        return st.just(Case(door, name, ()))
    chosen = st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(
        lambda names: st.tuples(*(st.tuples(st.just(each), fields[each]) for each in names))
    ).map(lambda odd: Case(door, name, tuple(sorted(odd))))
