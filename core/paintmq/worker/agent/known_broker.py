"""Which broker the workers of a node belong to: nobody else's, whoever answers at its address.

Addresses are used again: a broker goes, another one starts on a port that it had. Each start of a
broker has a number, its incarnation, which it tells on the port for clients and in every welcome.
Agents compare the two. Whoever knows the port for clients asks there again when one of them doubts.
Until then an agent reads nothing more from a broker that it does not know, and keeps the session:
if it is its own, started again, it may have given that session tasks.
"""

import threading

from attrs import define, field


@define(eq=False)
class KnownBroker:
    """What the agents of one node share; any thread may call any method."""

    incarnation: int | None = None
    """Of the broker that the node asked for its queues; None: any will do."""
    _doubt: str = field(default="", init=False)
    _doubted: threading.Event = field(factory=threading.Event, init=False)

    def accepts(self, incarnation: int) -> bool:
        """Return whether the broker that welcomes a worker is the one that is known."""
        return self.incarnation is None or incarnation == self.incarnation

    def doubt(self, reason: str) -> None:
        """Have somebody ask again where the broker is: for this reason it may have moved."""
        self._doubt = reason
        self._doubted.set()

    def wait_for_doubt(self, seconds: float) -> bool:
        """Wait at most that long for a doubt; return whether there is one."""
        return self._doubted.wait(seconds)

    def take_doubt(self) -> str:
        """Return the last doubt, which counts as dealt with; empty if there is none."""
        self._doubted.clear()
        reason, self._doubt = self._doubt, ""
        return reason
