"""How a command ends: its exit status, and one clear line for each error."""

import sys
from contextlib import suppress

import typer

from paintmq.errors import PaintMQError, RejectedError, TaskNotCompletedError, WeightsMissingError

FAILED = 1
"""A task failed, a service could not go on, or a check found something wrong: ``doctor``,
``replay``, ``plugins check``, ``models verify``, ``backup``."""
BAD_INPUT = 2
"""Something the user supplied cannot work: a file, an option, a setting, a port; one line on
stderr says what."""
SIGNALLED = 128
"""Stopped by a signal, whose number is added, as shells do: 130 for Ctrl-C and 143 for SIGTERM of
`paintmq run`, 129 where the terminal was closed, 141 where the reader of the output has left."""

_NOT_THE_USERS_FAULT = frozenset(
    {
        "broker_error",
        "bytes_full",
        "queue_full",
        "draining",
        "disk_full",
        "disk_busy",
        "worker_crashed",
        "model_error",
    }
)


_REFUSALS = (
    *("invalid_", "unknown_", "not_allowed", "no_queue", "no_worker"),
    *("weights_", "load_failed", "model_unavailable"),
)
"""How the codes begin of tasks that could not succeed as they were given, or as models are
installed here."""


class CommandError(PaintMQError):
    """Something the command was given cannot work; the text is for its user."""

    status = BAD_INPUT


class NoBrokerError(CommandError):
    """No broker answers at an address: none is there, it is slow, or it wants another key."""


class ServiceFailedError(CommandError):
    """A service that should run until it is told to stop has ended by itself."""

    status = FAILED  # so that an init system starts it again


def exit_status(error: PaintMQError) -> int:
    """Return BAD_INPUT where a changed command line may help, else FAILED."""
    match error:
        case CommandError():
            return error.status
        case RejectedError(code=code):
            return FAILED if code in _NOT_THE_USERS_FAULT else BAD_INPUT
        case TaskNotCompletedError(code=code):
            return BAD_INPUT if code.startswith(_REFUSALS) else FAILED
        case WeightsMissingError():
            return BAD_INPUT
        case _:
            return BAD_INPUT


def report(error: PaintMQError | str) -> None:
    """Print the error to stderr, one line per problem."""
    for line in str(error).splitlines() or [type(error).__name__]:
        with suppress(OSError, ValueError):  # a terminal that was closed, a full disk
            typer.secho("error: ", err=True, nl=False, fg=typer.colors.RED)
        _say(line)


def note(text: str) -> None:
    """Tell the user something that is not a result."""
    _say(text)


def unexpected(error: Exception) -> str:
    """Return an error that no command foresaw, on one line."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror} (PAINTMQ_LOG=debug shows where)"
    return (
        f"unexpected {type(error).__name__}{': ' * bool(text)}{text}"
        " (PAINTMQ_LOG=debug shows where; please report it)"
    )


def _say(text: str) -> None:
    """Print a line to stderr. What cannot be told must not end a service."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)
