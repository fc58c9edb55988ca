"""What a plugin's functions return or raise, checked once, where it comes in.

Rule 1: a plugin's function may return anything and raise anything: ``sys.exit()``, an exception
whose ``str`` raises, a number beyond all floats, text that no message can carry. Whatever it is, it
ends the one task or the one decision it was asked about, with a reason that can be read.
Rule 2: what is handed on has exactly the built-in type, so that no method of the plugin's runs
later, where nothing would contain it.
"""

from collections.abc import Callable
from math import ceil, isfinite
from numbers import Real
from typing import Any

from attrs import frozen

from paintmq.errors import (
    InvalidInputError,
    InvalidOptionError,
    InvalidTaskError,
    PluginStuck,
    printable,
    said_by,
    shown,
)
from paintmq.model import Job, ModelSpec, Needs

MOST_MB = 2**31
MOST_CORES = 2**16
MOST_SECONDS = 1e9
"""Three decades; sums of many such numbers stay finite."""
MOST_BYTES = 2**50
LONGEST_KEY = 1_000


class AnswerError(Exception):
    """A value is of the wrong type or out of range; the text says which and what would do."""


@frozen
class Estimate:
    """What a plugin says about one job."""

    needs: Needs
    run_seconds: float
    batch_key: str | None
    result_bytes: int = 0
    """Of the largest output; 0 when unknown."""


def estimate(spec: ModelSpec, job: Job) -> Estimate:
    """Ask the plugin what the job needs, how long it takes and what it may share a batch with.

    Raises:
        InvalidTaskError: a function failed or returned something else than it may; or the plugin
            refuses the task on purpose, and then with the plugin's own text and kind of error.
        PluginStuck: a function was interrupted, as it did not return.
    """
    try:
        return Estimate(
            needs=_needs(spec.needs(job)),
            run_seconds=number(spec.run_seconds(job), "run_seconds", most=MOST_SECONDS),
            batch_key=_key(spec.batch_key, job),
            result_bytes=_result_bytes(spec.result_bytes, job),
        )
    except AnswerError as error:
        raise InvalidTaskError(f"model {spec.name} cannot estimate this task: {error}") from None
    except InvalidTaskError as error:
        raise _as_it_is(error) from None
    except PluginStuck:
        raise  # the catalog must not ask again
    except BaseException as error:  # noqa: BLE001 -- rule 1
        raise InvalidTaskError(
            f"model {spec.name} cannot estimate this task: {said_by(error)}"
        ) from None


def number(value: object, name: str, *, most: float, least: float = 0.0) -> float:
    """Return the value as a float between ``least`` and ``most``.

    Raises:
        AnswerError: it is no number, not finite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise AnswerError(f"{name} is {shown(value)}, but must be a number")
    try:
        found = float.__float__(float(value))
    except OverflowError:
        found = float("inf")
    if not isfinite(found) or not least <= found <= most:
        raise AnswerError(
            f"{name} is {shown(value)}, but must be a number from {least:g} to {most:,.0f}"
        )
    return found


def whole_number(value: object, name: str, *, most: int) -> int:
    """Return the value as an int from 0 to ``most``; fractions are rounded up.

    Raises:
        AnswerError: it is no number, not finite or out of range.
    """
    return ceil(number(value, name, most=most))


def text(value: object, name: str, *, longest: int) -> str:
    """Return the value as a str that any message can carry.

    Raises:
        AnswerError: it is no text, too long, or holds half a surrogate pair.
    """
    if not isinstance(value, str):
        raise AnswerError(f"{name} is {shown(value)}, but must be text")
    found = str.__str__(value)
    if len(found) > longest:
        raise AnswerError(f"{name} has {len(found)} characters, at most {longest} are allowed")
    if printable(found, longest) != found:
        raise AnswerError(f"{name} is {shown(value)}, which is no valid Unicode")
    return found


def _needs(value: Any) -> Needs:
    if not isinstance(value, Needs):
        raise AnswerError(f"needs returned {shown(value)}, but must return a Needs")
    return Needs(
        gpu_memory_mb=whole_number(value.gpu_memory_mb, "needs.gpu_memory_mb", most=MOST_MB),
        memory_mb=whole_number(value.memory_mb, "needs.memory_mb", most=MOST_MB),
        cores=whole_number(value.cores, "needs.cores", most=MOST_CORES),
    )


def _key(batch_key: Callable[[Job], str] | None, job: Job) -> str | None:
    if batch_key is None:
        return None
    return text(batch_key(job), "batch_key", longest=LONGEST_KEY)


def _result_bytes(result_bytes: Callable[[Job], int] | None, job: Job) -> int:
    if result_bytes is None:
        return 0
    return whole_number(result_bytes(job), "result_bytes", most=MOST_BYTES)


def _as_it_is(error: InvalidTaskError) -> InvalidTaskError:
    """Return the refusal again, as an error of ours alone: a plugin's subclass may do anything."""
    for kind in (InvalidInputError, InvalidOptionError):
        if isinstance(error, kind):
            return kind(said_by(error))
    return InvalidTaskError(said_by(error))
