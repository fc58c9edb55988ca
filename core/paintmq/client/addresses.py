"""A client's addresses of its broker: several where brokers stand by for each other.

One that stands by does not listen, so whatever takes a connection is the one to ask. Where a leader
was stopped, its system takes connections for it all the same, and they stay unanswered: then the
next address has its turn.
"""

from collections.abc import Callable, Sequence
from time import monotonic

from attrs import define, field

from paintmq.transport.addresses import endpoints_in
from paintmq.transport.reach import why_unreachable

LOOK = 0.5
"""Seconds that an address has to take a connection, and between two looks at the others."""
ANSWER = 3.0
"""Seconds that a broker has to answer before another address, if it takes connections, is used."""


@define
class Addresses:
    """Which address is in use. For the session's thread; a look takes ``LOOK`` a dead address."""

    _all: Sequence[str]
    _why_unreachable: Callable[[str, float], str] = why_unreachable
    _clock: Callable[[], float] = monotonic
    _at: int = field(default=-1, init=False)
    _since: float = field(default=0.0, init=False)
    """When the current one was chosen."""
    _looked_at: float = field(default=0.0, init=False)

    @classmethod
    def of(cls, endpoint: str) -> "Addresses":
        return cls(endpoints_in(endpoint))

    @property
    def are_several(self) -> bool:
        return len(self._all) > 1

    @property
    def current(self) -> str:
        return self._all[max(self._at, 0)]

    def choose(self) -> str:
        """Return the address for a new connection: the next one after the current that listens."""
        others = self._others()
        listening = (at for at in others if self._listens(at)) if self.are_several else ()
        return self._use(next(iter(listening), others[0]))

    def should_change(self, *, welcomed: bool) -> bool:
        """Return whether ``choose`` would find a better one than a connection without a welcome."""
        if welcomed or not self.are_several:
            return False
        now = self._clock()
        if now - self._looked_at < LOOK:
            return False
        self._looked_at = now
        patience_over = now - self._since > ANSWER
        if not patience_over and self._listens(self._at):
            return False
        return any(self._listens(at) for at in self._others()[:-1])

    def next_look(self, *, welcomed: bool) -> float | None:
        """Return when to ask ``should_change`` again; None: not before something happens."""
        return None if welcomed or not self.are_several else self._looked_at + LOOK

    def _others(self) -> list[int]:
        """Return the places of all addresses: those after the current one first, it last."""
        count = len(self._all)
        return [(self._at + step) % count for step in range(1, count + 1)]

    def _listens(self, at: int) -> bool:
        return not self._why_unreachable(self._all[at], LOOK)

    def _use(self, at: int) -> str:
        self._at, self._since = at, self._clock()
        self._looked_at = self._since
        return self._all[at]
