"""Who may connect to a broker: holders of its keys; without keys anyone, at a limited rate."""

import logging
from collections.abc import Collection
from pathlib import Path

from paintmq.config import BrokerConfig
from paintmq.errors import ConfigError
from paintmq.statistics import ShellStatistics
from paintmq.transport.connection_throttle import ConnectionThrottle
from paintmq.transport.curve import Authenticator, KeyRing
from paintmq.transport.key_review import review
from paintmq.transport.sockets import Context

logger = logging.getLogger(__name__)


class AccessControl:
    """The keys of a running broker and the thread that authenticates peers; or its throttle."""

    def __init__(
        self,
        broker: BrokerConfig,
        queues: Collection[str],
        statistics: ShellStatistics | None = None,
    ) -> None:
        """Read the keys, if any are configured; ``queues``: the names of all queues.

        Raises:
            ConfigError: they are missing, damaged, or readable by others.
        """
        self.ring = KeyRing(Path(broker.keys)) if broker.keys else None
        self._queues = queues
        self.statistics = statistics if statistics is not None else ShellStatistics()
        """Counts whoever is refused or cut off."""
        self.gate: ConnectionThrottle | None = None
        """Where peers without a key wait to be let in; None where keys are in use."""
        self._authenticator: Authenticator | None = None

    def start(self, context: Context) -> None:
        """Start to authenticate peers; call it before a socket is bound.

        Raises:
            ConfigError: the context has another handler already.
        """
        if self.ring is not None:
            self._authenticator = Authenticator(context, self.ring, self.statistics)
            self._authenticator.start()
            self._warn(self.ring)
            return
        try:
            self.gate = ConnectionThrottle(context)
        except ConfigError as error:
            logger.warning("connections without keys are not throttled: %s", error)

    def stop(self) -> None:
        """Refuse new connections. Harmless to repeat."""
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None
        if self.gate is not None:
            self.gate.close()
            self.gate = None

    def reload(self) -> None:
        """Read the keys again.

        Raises:
            ConfigError: the list is damaged; the one before still holds.
        """
        if self.ring is not None:
            self.ring.reload()
            self._warn(self.ring)

    @property
    def keys(self) -> int | None:
        """The number of keys that may connect; None where no keys are in use."""
        return None if self.ring is None else len(self.ring)

    def _warn(self, ring: KeyRing) -> None:
        for concern in review(ring.keys, queues=self._queues, now=ring.now()):
            logger.warning("%s", concern.text)
