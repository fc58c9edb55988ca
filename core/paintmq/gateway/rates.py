"""How often a token may bring work: a bucket for each that limits it."""

import math
from collections.abc import Callable

from attrs import define, field

from paintmq.gateway.refusal import RefusedRequestError
from paintmq.http_api import Caller

BURST_SECONDS = 5.0
"""Worth of its rate that a caller may bring at once after a pause; at least one request."""


@define
class Rates:
    """What is left in each caller's bucket. No more buckets than tokens."""

    clock: Callable[[], float]
    """Seconds that only grow."""
    _buckets: dict[str, tuple[float, float]] = field(
        factory=dict[str, tuple[float, float]], init=False
    )

    def spend(self, caller: Caller) -> None:
        """Count a request that brings work.

        Raises:
            RefusedRequestError: the caller brings more than its token's rate.
        """
        if caller.rate is None:
            return
        most = max(1.0, caller.rate * BURST_SECONDS)
        now = self.clock()
        left, since = self._buckets.get(caller.name, (most, now))
        left = min(most, left + (now - since) * caller.rate)
        if left < 1.0:
            self._buckets[caller.name] = (left, now)
            seconds = math.ceil((1.0 - left) / caller.rate)
            raise RefusedRequestError(
                429,
                "rate",
                f"your token {caller.name!r} allows {caller.rate:g} requests a second",
                **{"retry-after": str(max(1, seconds))},
            )
        self._buckets[caller.name] = (left - 1.0, now)
