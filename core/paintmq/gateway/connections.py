"""HTTP connections that end in time: uvicorn itself waits for a request without end.

Rule: a connection that has not sent a whole request head seconds after it could have is closed.
Silent connections cost an attacker nothing, and each takes a place of the limit that all share.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""For the line and the headers of one request to arrive, from the connection's start or the end of
the request before."""


class PromptProtocol(H11Protocol):
    """uvicorn's connection, with a limit on the time between requests in which nothing is asked."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_patience()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def _look(self) -> None:
        """Start the clock where a request is waited for, and stop it where one is served."""
        is_served = self.cycle is not None and not self.cycle.response_complete
        # A WebSocket has taken the connection over, and minds its silence itself.
        is_handed_over = self.transport.get_protocol() is not self
        if is_served or is_handed_over:
            self._end_patience()
        elif self._patience is None and not self.transport.is_closing():
            self._patience = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        self.transport.abort()

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
