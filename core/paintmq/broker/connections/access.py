"""Who may connect to one broker: the keys of a folder, or whoever reaches it, in turn."""

import logging
from collections.abc import Collection
from pathlib import Path

from paintmq.config import BrokerConfig
from paintmq.errors import ConfigError
from paintmq.transport.connection_throttle import ConnectionThrottle
from paintmq.transport.curve import Authenticator, KeyRing
from paintmq.transport.key_review import review
from paintmq.transport.sockets import Context

logger = logging.getLogger(__name__)


class AccessControl:
    """The keys of a running broker, and the thread that answers ZeroMQ about them; or its gate."""

    def __init__(self, broker: BrokerConfig, queues: Collection[str]) -> None:
        """Read the keys, if the configuration asks for any; ``queues``: those there are.

        Raises:
            ConfigError: they are missing, damaged, or readable by others.
        """
        self.ring = KeyRing(Path(broker.keys)) if broker.keys else None
        self._queues = queues
        self.gate: ConnectionThrottle | None = None
        """Where strangers wait; None where keys are asked for."""
        self._authenticator: Authenticator | None = None

    def start(self, context: Context) -> None:
        """Answer from now on; call it before a socket is bound.

        Raises:
            ConfigError: the context has another handler already.
        """
        if self.ring is not None:
            self._authenticator = Authenticator(context, self.ring)
            self._authenticator.start()
            self._warn(self.ring)
            return
        try:
            self.gate = ConnectionThrottle(context)
        except ConfigError as error:
            logger.warning("strangers come in without waiting for their turn: %s", error)

    def stop(self) -> None:
        """Let nobody new in. Harmless to repeat."""
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
        """How many keys are let in; None where none are asked for."""
        return None if self.ring is None else len(self.ring)

    def _warn(self, ring: KeyRing) -> None:
        for concern in review(ring.keys, queues=self._queues, now=ring.now()):
            logger.warning("%s", concern.text)
