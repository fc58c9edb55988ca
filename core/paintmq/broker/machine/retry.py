"""How long a task waits before it is retried."""

import random

from attrs import frozen


@frozen(kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter, in seconds."""

    first: float = 1.0
    most: float = 60.0
    jitter: float = 0.2
    """Fraction by which a delay may be shorter or longer, so that tasks that failed together are
    not all retried at once."""

    def delay(self, tries: int, rng: random.Random) -> float:
        """Return the seconds to wait after the given number of tries (at least 1)."""
        # 2**60 seconds is longer than any limit; a much larger exponent would overflow a float.
        backoff = min(self.most, self.first * 2.0 ** min(tries - 1, 60))
        return backoff * rng.uniform(1 - self.jitter, 1 + self.jitter)
