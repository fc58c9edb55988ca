"""How long the turns of the broker's loop take: for so long nobody else is heard."""

from bisect import bisect_left
from collections.abc import Callable

from attrs import define, field

from paintmq.task import Json

BOUNDS = tuple(0.0001 * 1.15**step for step in range(84))
"""Seconds, from 0.1 ms to 11 s, each 15 % above the one before."""


@define
class LoopLatency:
    """Counts turns by how long they took, since the broker started."""

    _clock: Callable[[], float]
    _processor: Callable[[], float]
    """What the thread of the loop has had of the processor, in seconds."""
    _began: tuple[float, float] | None = field(default=None, init=False)
    _counts: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1), init=False)
    _busy: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1), init=False)
    _longest: float = field(default=0.0, init=False)

    def begins(self) -> None:
        """Take note that a turn begins: the loop has waited for long enough."""
        self._began = self._clock(), self._processor()

    def ends(self) -> None:
        """Take note that it ends; without one that began, of nothing."""
        if self._began is None:
            return
        began, busy = self._began
        seconds = self._clock() - began
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._busy[bisect_left(BOUNDS, self._processor() - busy)] += 1
        self._longest = max(self._longest, seconds)

    def describe(self) -> Json:
        """Return the ``counts`` of turns that took up to each of the ``bounds`` and more than the
        bound before, with one more count for those above all; the same of the processor's time
        alone, as ``busy``, which others on the machine do not change; and the ``longest``.

        Of two such answers the differences are what happened between them.
        """
        return {
            "bounds": list(BOUNDS),
            "counts": list(self._counts),
            "busy": list(self._busy),
            "longest": self._longest,
        }
