"""Broker time: Unix time at the start, then monotonic; it stands still while the process is
stopped, so that a pause of the broker expires no lease.
"""

import time
from collections.abc import Callable

LONGEST_TICK = 5.0
"""Seconds; a longer gap between two readings means that the process was stopped, not busy."""


class BrokerClock:
    """A clock that must be read at least every second while the broker runs."""

    def __init__(
        self,
        *,
        not_before: float = 0.0,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``not_before``: the latest broker time in the journal; time never runs backwards."""
        self._monotonic = monotonic
        self._last = monotonic()
        self._now = max(wall() / 1e9, not_before)
        self.skipped = 0.0
        """Seconds of pauses that were left out."""

    def now(self) -> float:
        """Return broker time; this is also a tick."""
        reading = self._monotonic()
        elapsed, self._last = reading - self._last, reading
        if elapsed > LONGEST_TICK:
            self.skipped += elapsed
        else:
            self._now += elapsed
        return self._now
