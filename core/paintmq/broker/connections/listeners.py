"""The broker's ports: which of them to read, whom to admit, and whom to cut off."""

import logging
from collections.abc import Container, Iterator, Sequence

from paintmq.broker.connections.endpoints import RouterEndpoint
from paintmq.errors import WireError
from paintmq.statistics import ShellStatistics, is_worth_a_line
from paintmq.task import PeerId
from paintmq.transport.connection_throttle import ConnectionThrottle
from paintmq.transport.multipart import FRAME_SECONDS
from paintmq.transport.sockets import Socket

logger = logging.getLogger(__name__)

INSPECTION_SECONDS = 0.2
"""Between two inspections of all connections: there may be thousands of them."""
NEXT_INSPECTION_SECONDS = 0.05
"""The same while a connection has sent much of an unfinished message."""


class Listeners:
    """All listening sockets; without a gate (keys are in use) no connection has to wait."""

    def __init__(
        self,
        endpoints: Sequence[RouterEndpoint],
        gate: ConnectionThrottle | None,
        statistics: ShellStatistics,
    ) -> None:
        self._endpoints = list(endpoints)
        self._gate = gate
        self._unread: list[RouterEndpoint] = []
        self._held_back: list[RouterEndpoint] = []
        self._inspect_at = 0.0
        self._statistics = statistics
        self._wasted = self._charged = 0.0
        self._someone_asks = True
        """Whether a connection may have come that is to be let in."""
        self._looked_at = False
        """Whether connections were inspected since then."""

    def sockets(self, *, clients: bool = True) -> Iterator[Socket]:
        """Yield the sockets to poll; ``clients``: whether those of clients are among them."""
        for endpoint in self._endpoints:
            if clients or endpoint.is_queue:
                yield from endpoint.sockets
        if self._gate is not None:
            yield self._gate.socket

    def add(self, endpoint: RouterEndpoint) -> None:
        """Listen for the workers of one more queue."""
        self._endpoints.append(endpoint)

    def remove(self, endpoint: RouterEndpoint) -> None:
        """Listen there no more; its owner closes it."""
        self._endpoints.remove(endpoint)
        self._unread = [each for each in self._unread if each is not endpoint]
        self._held_back = [each for each in self._held_back if each is not endpoint]
        # What it wasted is charged already: the sum over the others alone must not look like less.
        self._wasted += endpoint.wasted

    def to_read(self, ready: Container[object]) -> list[RouterEndpoint]:
        """Return the endpoints with something to read, including those not read empty before."""
        unread, self._unread = [*self._unread, *self._held_back], []
        self._held_back = []
        self._someone_asks = self._gate is not None and self._gate.socket in ready
        return [
            endpoint
            for endpoint in self._endpoints
            if endpoint.socket in ready or endpoint.other_socket in ready or endpoint in unread
        ]

    def mark_unread(self, endpoint: RouterEndpoint) -> None:
        """Record that this endpoint still has unread messages."""
        self._unread.append(endpoint)

    def hold_back(self, endpoint: RouterEndpoint) -> None:
        """Leave this endpoint unread until there is room for what it brings; poll the others."""
        self._held_back.append(endpoint)

    @property
    def any_held_back(self) -> bool:
        return bool(self._held_back)

    def count_wire_error(self, port: str, peer: PeerId, error: WireError) -> None:
        """Count, and log now and then, a message that broke the protocol."""
        self._statistics.wire_errors += 1
        if is_worth_a_line(self._statistics.wire_errors):
            text = "dropped a message from %r on %s (%d so far): %s"
            logger.warning(text, peer, port, self._statistics.wire_errors, error)

    def charge_useless(self, frames: int) -> None:
        """Charge the time spent on a message that broke the protocol."""
        self._wasted += frames * FRAME_SECONDS

    def hang_up(self, endpoint: RouterEndpoint, *, now: float) -> None:
        """Cut a connection that sent too many frames, and inspect the others soon."""
        endpoint.hang_up(now=now)
        self._inspect_at = min(self._inspect_at, now)

    def let_in(self, *, now: float) -> None:
        """Admit as many waiting connections as there is time for; call it after reading."""
        if self._gate is None:
            return
        if not (self._someone_asks or self._looked_at or len(self._gate)):
            return  # what was wasted is charged before anybody is let in
        self._looked_at = False
        wasted = self._wasted + sum(endpoint.wasted for endpoint in self._endpoints)
        if wasted > self._charged:
            self._gate.charge(wasted - self._charged, now=now)
            self._charged = wasted
        self._gate.let_in(now=now, is_calm=not self._unread)

    def wait(self, *, now: float) -> float:
        """Return the seconds until there is something to do even if nothing arrives."""
        if self._unread:
            return 0.0
        inspection = max(0.0, self._inspect_at - now)
        gate = self._gate.wait(now=now) if self._gate is not None else None
        return inspection if gate is None else min(inspection, gate)

    def is_inspection_due(self, *, now: float) -> bool:
        return self._inspect_at <= now

    def inspect_connections(self, *, now: float) -> None:
        """Inspect all connections, including those from which nothing was ever received."""
        self._looked_at = True
        unread = [*self._unread, *self._held_back]
        behind = [each.inspect(now=now, read_empty=each not in unread) for each in self._endpoints]
        self._inspect_at = now + (NEXT_INSPECTION_SECONDS if any(behind) else INSPECTION_SECONDS)

    def changed_keys(self) -> Iterator[tuple[RouterEndpoint, PeerId, str]]:
        """Yield connections whose keys have changed; see ``RouterEndpoint.changed_keys``."""
        for endpoint in self._endpoints:
            for peer, refusal in endpoint.changed_keys():
                yield endpoint, peer, refusal
