"""Logging of commands. A library must not configure logging; a command may."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LEVEL_VARIABLE = "PAINTMQ_LOG"

_logger = logging.getLogger("paintmq")


def log_to_stderr(default: str = "info") -> None:
    """Send the log to stderr, one line per record; ``PAINTMQ_LOG`` names another level."""
    name = os.environ.get(LEVEL_VARIABLE) or default
    level = logging.getLevelNamesMapping().get(name.upper(), logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", "%H:%M:%S")
    )
    _logger.handlers = [handler]
    _logger.setLevel(level)
    _logger.propagate = False


@contextmanager
def logging_restored() -> Iterator[None]:
    """Leave logging as it was: a program may run several commands, and log in between."""
    before = _logger.handlers, _logger.level, _logger.propagate
    try:
        yield
    finally:
        _logger.handlers, level, _logger.propagate = before
        _logger.setLevel(level)
