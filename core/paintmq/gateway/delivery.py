"""Sending what must arrive: a response that knows whether it was sent, and room for its bytes."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from attrs import define, field
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

PIECE_BYTES = 64 * 1024
"""Sent at a time: as much as the server takes before it waits for the peer."""


async def disconnected(receive: Receive) -> None:
    """Return once the peer has closed the connection; to be cancelled when that is of no use."""
    for _ in range(2):  # what is left of the request, and then the end of the connection
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
    await asyncio.Event().wait()


class ConfirmedResponse(Response):
    """A response that calls ``sent`` once its last byte was taken, and not if the peer has left.

    The server takes bytes for a peer that has left without a word, so that is watched for.
    """

    sent: Callable[[], Awaitable[None]] | None = None
    is_last_part: bool = True
    """Whether the peer has all of it after this."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(disconnected(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            body = memoryview(self.body)
            for start in range(0, max(len(body), 1), PIECE_BYTES):
                await asyncio.sleep(0)  # lets the watcher see what has happened
                if gone.done():
                    return
                piece = bytes(body[start : start + PIECE_BYTES])
                more = start + PIECE_BYTES < len(body)
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        if self.sent is not None and scope["method"] == "GET":
            await self.sent()


@define
class ByteRoom:
    """Bytes that may be in memory at a time; who finds no room waits in order of arrival."""

    most: int
    taken: int = field(default=0, init=False)
    _waiting: deque[tuple[int, asyncio.Event]] = field(
        factory=deque[tuple[int, asyncio.Event]], init=False
    )

    @asynccontextmanager
    async def room_for(self, size: int) -> AsyncIterator[None]:
        """Hold room for ``size`` bytes; what is larger than the whole room is let in alone."""
        entry = (size, asyncio.Event())
        self._waiting.append(entry)
        self._admit()
        try:
            await entry[1].wait()
            yield
        finally:
            if entry[1].is_set():
                self.taken -= size
            else:
                self._waiting.remove(entry)
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, admitted = self._waiting[0]
            if self.taken and self.taken + size > self.most:
                return
            self.taken += size
            self._waiting.popleft()
            admitted.set()
