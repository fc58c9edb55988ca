"""The broker's ports: which of them are to be read, who is let in, and who is thrown out."""

import logging
from collections.abc import Container, Iterator, Sequence

from paintmq.broker.connections.endpoints import RouterEndpoint
from paintmq.errors import WireError
from paintmq.task import PeerId
from paintmq.transport.connection_throttle import ConnectionThrottle
from paintmq.transport.multipart import FRAME_SECONDS
from paintmq.transport.sockets import Socket

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""Between two looks at all connections: there may be thousands, and one may send without end."""
NEXT_LOOK_SECONDS = 0.05
"""The same while somebody sends much that is not whole."""


class Listeners:
    """All listening sockets; without a gate, as where keys are asked for, nobody has to wait."""

    def __init__(
        self, endpoints: Sequence[RouterEndpoint], gate: ConnectionThrottle | None
    ) -> None:
        self._endpoints = endpoints
        self._gate = gate
        self._unread: list[RouterEndpoint] = []
        self._look_at = 0.0
        self.wire_errors = 0
        """Messages that were not of our protocol."""
        self._wasted = self._charged = 0.0

    @property
    def sockets(self) -> Iterator[Socket]:
        """Those to be polled."""
        for endpoint in self._endpoints:
            yield from endpoint.sockets
        if self._gate is not None:
            yield self._gate.socket

    def to_read(self, ready: Container[object]) -> list[RouterEndpoint]:
        """Return the endpoints with something to read, those left unread before included."""
        unread, self._unread = self._unread, []
        return [
            endpoint
            for endpoint in self._endpoints
            if endpoint in unread or any(socket in ready for socket in endpoint.sockets)
        ]

    def leave(self, endpoint: RouterEndpoint) -> None:
        """Take note that an endpoint's turn ended before it was read empty."""
        self._unread.append(endpoint)

    def not_understood(self, port: str, peer: PeerId, error: WireError) -> None:
        """Take note of a message that was not of our protocol."""
        self.wire_errors += 1
        if self.wire_errors.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …: a log cannot be flooded
            words = "dropped a message from %r on %s (%d so far): %s"
            logger.warning(words, peer, port, self.wire_errors, error)

    def read_in_vain(self, frames: int) -> None:
        """Take note of a message that made no sense."""
        self._wasted += frames * FRAME_SECONDS

    def hang_up(self, endpoint: RouterEndpoint, *, now: float) -> None:
        """Cut the connection that too many frames came from: others may be doing the same."""
        endpoint.hang_up(now=now)
        self._look_at = min(self._look_at, now)

    def let_in(self, *, now: float) -> None:
        """Let in whom there is time for; to be called after reading."""
        if self._gate is None:
            return
        wasted = self._wasted + sum(endpoint.wasted for endpoint in self._endpoints)
        if wasted > self._charged:
            self._gate.charge(wasted - self._charged, now=now)
            self._charged = wasted
        self._gate.let_in(now=now, is_calm=not self._unread)

    def wait(self, *, now: float) -> float:
        """Return the seconds until there is something to do if nothing comes."""
        if self._unread:
            return 0.0
        look = max(0.0, self._look_at - now)
        gate = self._gate.wait(now=now) if self._gate is not None else None
        return look if gate is None else min(look, gate)

    def is_time_to_look(self, *, now: float) -> bool:
        return self._look_at <= now

    def look(self, *, now: float) -> None:
        """Look after all connections, also those that never said anything."""
        behind = [
            each.look(now=now, read_empty=each not in self._unread) for each in self._endpoints
        ]
        self._look_at = now + (NEXT_LOOK_SECONDS if any(behind) else LOOK_SECONDS)

    def changed_keys(self) -> Iterator[tuple[RouterEndpoint, PeerId, str]]:
        """Iterate over connections whose keys have changed; see ``RouterEndpoint.changed_keys``."""
        for endpoint in self._endpoints:
            for peer, refusal in endpoint.changed_keys():
                yield endpoint, peer, refusal
