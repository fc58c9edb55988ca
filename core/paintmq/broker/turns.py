"""How long the turns of the broker's loop take: for so long nobody else is heard."""

from bisect import bisect_left

from attrs import define, field

from paintmq.task import Json

BOUNDS = tuple(0.0001 * 1.15**step for step in range(84))
"""Seconds, from 0.1 ms to 11 s, each 15 % above the one before."""


@define
class TurnTimes:
    """Counts turns by how long they took, since the broker started."""

    _counts: list[int] = field(factory=lambda: [0] * (len(BOUNDS) + 1), init=False)
    _longest: float = field(default=0.0, init=False)

    def took(self, seconds: float) -> None:
        """Take note of one turn."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._longest = max(self._longest, seconds)

    def describe(self) -> Json:
        """Return the ``counts`` of turns that took up to each of the ``bounds`` and more than the
        bound before, with one more count for those above all; and the ``longest``.

        Of two such answers the differences are what happened between them.
        """
        return {
            "bounds": list(BOUNDS),
            "counts": list(self._counts),
            "longest": self._longest,
        }
