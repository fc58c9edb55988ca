"""Logging of commands. A library sets up none; a command is the program, so it may."""

import logging
import os
import sys

LEVEL_VARIABLE = "PAINTMQ_LOG"


def log_to_stderr(default: str = "info") -> None:
    """Send the log to stderr, one line a record; ``PAINTMQ_LOG`` names another level."""
    name = os.environ.get(LEVEL_VARIABLE) or default
    level = logging.getLevelNamesMapping().get(name.upper(), logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", "%H:%M:%S")
    )
    logger = logging.getLogger("paintmq")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
    logging.captureWarnings(capture=True)
