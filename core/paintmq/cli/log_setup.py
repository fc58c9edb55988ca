"""Logging of commands. A library must not configure logging; a command may."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from paintmq.cli.failures import CommandError

LEVEL_VARIABLE = "PAINTMQ_LOG"
FORMAT_VARIABLE = "PAINTMQ_LOG_FORMAT"

_logger = logging.getLogger("paintmq")


def log_to_stderr(default: str = "info") -> None:
    """Send the log to stderr, one line per record.

    ``PAINTMQ_LOG`` names another level, ``PAINTMQ_LOG_FORMAT=json`` has lines for programs.

    Raises:
        CommandError: there is no such format.
    """
    name = os.environ.get(LEVEL_VARIABLE) or default
    level = logging.getLevelNamesMapping().get(name.upper(), logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level)
    handler.setFormatter(_formatter(os.environ.get(FORMAT_VARIABLE) or "text"))
    _logger.handlers = [handler]
    _logger.setLevel(min(level, logging.WARNING))  # others may listen: ``last_warning``
    _logger.propagate = False


def _formatter(name: str) -> logging.Formatter:
    if name == "json":
        from paintmq.cli.log_format import JsonFormatter

        return JsonFormatter()
    if name != "text":
        raise CommandError(f"{FORMAT_VARIABLE}={name}: there are json or text")
    return logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", "%H:%M:%S")


@contextmanager
def logging_restored() -> Iterator[None]:
    """Leave logging as it was: a program may run several commands, and log in between."""
    before = _logger.handlers, _logger.level, _logger.propagate
    try:
        yield
    finally:
        _logger.handlers, level, _logger.propagate = before
        _logger.setLevel(level)


class LastWarning(logging.Handler):
    """Keeps the last warning, for an error that has no cause of its own to tell."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


@contextmanager
def last_warning() -> Iterator[LastWarning]:
    """Listen for warnings of this program's own parts."""
    handler = LastWarning()
    _logger.addHandler(handler)
    try:
        yield handler
    finally:
        _logger.removeHandler(handler)
