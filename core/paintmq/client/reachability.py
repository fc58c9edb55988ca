"""Whether the broker answers, and saying so once when it does not and once when it does again."""

import logging
import threading
from collections.abc import Callable
from time import monotonic

logger = logging.getLogger(__name__)

_WORTH_A_WORD = 1.0
"""Seconds without an answer that are too short to be trouble."""


class Reachability:
    """Written by the session's thread, read by any other."""

    def __init__(self, endpoint: str, clock: Callable[[], float] = monotonic) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._unanswered_since: float | None = None
        self._complained = False
        self._answered = threading.Event()

    def wait(self, timeout: float | None) -> bool:
        """Wait for the broker's first answer; False if the time is up before."""
        return self._answered.wait(timeout)

    @property
    def trouble(self) -> str:
        """What is wrong, in words; empty while the broker answers, and before it could."""
        since = self._unanswered_since
        seconds = 0.0 if since is None else self._clock() - since
        if seconds < _WORTH_A_WORD:
            return ""
        return f"no broker has answered at {self._endpoint} for {seconds:.0f} s"

    def connecting(self) -> None:
        """Note that a connection is being made."""
        if self._unanswered_since is None:
            self._unanswered_since = self._clock()

    def answered(self) -> None:
        """Note that the broker has welcomed us."""
        self._answered.set()
        self._unanswered_since = None
        if self._complained:
            self._complained = False
            logger.warning("broker %s answers again", self._endpoint)

    def gave_up(self) -> None:
        """Note that the last connection was given up because nobody answered."""
        if not self._complained:
            # Somebody may be waiting without a limit, and without having set logging up: Python
            # shows a warning all the same.
            self._complained = True
            logger.warning(
                "broker %s does not answer; tasks are kept and the connection is tried again",
                self._endpoint,
            )
