"""The ports of queues that come and go while the broker works; for the broker's thread alone."""

import time
from collections.abc import Mapping

from attrs import define, field

from paintmq.broker.connections.access import AccessControl
from paintmq.broker.connections.endpoints import RouterEndpoint, queue_endpoint
from paintmq.broker.shell.loop import BrokerLoop
from paintmq.config import Config
from paintmq.transport.sockets import Context

FAREWELL = 5.0
"""Seconds in which the workers of a removed queue are told so, before its port is closed."""
LAST_WORDS = 1.0
"""Seconds that closing may take to put the last messages on the wire."""


@define
class QueuePorts:
    """Opens and closes ports of queues."""

    _context: Context
    _access: AccessControl
    _loop: BrokerLoop
    _endpoints: list[RouterEndpoint]
    """All ports of the broker, which its server closes in the end."""
    _retired: list[tuple[float, RouterEndpoint]] = field(factory=list, init=False)
    """Those of removed queues, and when they are closed."""

    @property
    def addresses(self) -> Mapping[str, str]:
        return {each.name: each.address for each in self._endpoints if each.is_queue}

    def bind_added(self, settings: Config) -> list[RouterEndpoint]:
        """Listen for the workers of queues that are new; for all of them, or for none.

        Raises:
            PortInUseError, ConfigError: one of the ports cannot be had.
        """
        bound: list[RouterEndpoint] = []
        known = self.addresses
        try:
            for name, queue in settings.queues.items():
                if name in known:
                    continue
                self._close(
                    [each for _, each in self._retired if queue.port in (0, _port_of(each))]
                )
                bound.append(
                    queue_endpoint(self._context, settings.broker, name, queue, self._access)
                )
        except BaseException:
            for endpoint in bound:
                endpoint.close()
            raise
        return bound

    def use(self, bound: list[RouterEndpoint]) -> None:
        """Serve these from now on."""
        for endpoint in bound:
            self._loop.add_endpoint(endpoint)
        self._endpoints.extend(bound)

    def retire_all_but(self, settings: Config) -> bool:
        """Close those of other queues, after a while; return whether there are any."""
        gone = [
            each for each in self._endpoints if each.is_queue and each.name not in settings.queues
        ]
        for endpoint in gone:
            self._endpoints.remove(endpoint)
            self._retired.append((time.monotonic() + FAREWELL, endpoint))
        return bool(gone)

    def close_due(self) -> None:
        """Close what has been retired for long enough."""
        if self._retired and self._retired[0][0] <= (now := time.monotonic()):
            self._close([each for at, each in self._retired if at <= now])

    def close_retired(self) -> None:
        """Close all that is retired: the broker ends."""
        retired, self._retired = self._retired, []
        for _, endpoint in retired:
            endpoint.close(linger=LAST_WORDS)

    def _close(self, endpoints: list[RouterEndpoint]) -> None:
        self._retired = [each for each in self._retired if each[1] not in endpoints]
        for endpoint in endpoints:
            self._loop.remove_endpoint(endpoint)
            endpoint.close(linger=LAST_WORDS)
            endpoint.wait_until_free(at_most=LAST_WORDS)


def _port_of(endpoint: RouterEndpoint) -> int:
    return int(endpoint.address.rpartition(":")[2])
