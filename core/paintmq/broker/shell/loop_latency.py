"""How long the turns of the broker's loop take: the time in which it hears no other peer."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate

from attrs import define, field

from paintmq.statistics import BOUNDS as LIMITS
from paintmq.statistics import Durations
from paintmq.task import Json

GROWTH = 1.15
BOUNDS = tuple(0.0001 * GROWTH**step for step in range(84))
"""Seconds, from 0.1 ms to 11 s, each 15 % above the one before."""


@define
class LoopLatency:
    """Counts turns by how long they took, since the broker started."""

    _clock: Callable[[], float]
    _processor: Callable[[], float]
    """Processor time of the loop's thread so far, in seconds."""
    _began: tuple[float, float] | None = field(default=None, init=False)
    _counts: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1), init=False)
    _busy: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1), init=False)
    _longest: float = field(default=0.0, init=False)
    _total: float = field(default=0.0, init=False)

    def begins(self) -> None:
        """Start timing a turn: the wait for events is over."""
        self._began = self._clock(), self._processor()

    def ends(self) -> None:
        """Count the turn that ``begins`` started timing; do nothing before the first one."""
        if self._began is None:
            return
        began, busy = self._began
        seconds = self._clock() - began
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._busy[bisect_left(BOUNDS, self._processor() - busy)] += 1
        self._longest = max(self._longest, seconds)
        self._total += seconds

    def durations(self) -> Durations:
        """Return the same as durations of turns; quantiles are bounds of the histogram."""
        count = sum(self._counts)
        if not count:
            return Durations()
        bounds = (*BOUNDS, self._longest)
        ends = tuple(accumulate(self._counts))

        def quantile(share: float) -> float:
            return min(bounds[bisect_left(ends, share * count)], self._longest)

        return Durations(
            count=count,
            total=self._total,
            p50=quantile(0.5),
            p90=quantile(0.9),
            p99=quantile(0.99),
            longest=self._longest,
            up_to=tuple((0, *ends)[bisect_right(BOUNDS, bound * GROWTH)] for bound in LIMITS),
        )

    def describe(self) -> Json:
        """Return a histogram of all turns since the start.

        ``counts`` holds the number of turns up to each of ``bounds`` (and above the bound before),
        and one more count for turns above the last bound; ``busy`` counts the same turns by
        processor time, which other programs on the machine do not change; ``longest`` is in
        seconds. Subtract two answers to learn what happened between them.
        """
        return {
            "bounds": list(BOUNDS),
            "counts": list(self._counts),
            "busy": list(self._busy),
            "longest": self._longest,
        }
