"""A request's body as it comes in: bounded, counted, and given up on if it does not arrive.

Rule: it is passed on piece by piece and held here by no one, so what reads it decides whether it is
in memory once, or on disk.
"""

import asyncio

from attrs import define, field

from paintmq.gateway.asgi import Message, Receive
from paintmq.gateway.refusal import RefusedRequestError

SLOW_BODY = 10.0
"""Seconds for the next piece of a body to arrive, and for its peer to take one of the answer's."""
SLOWEST_BODY = 16 * 1024
"""Bytes a second, after the first ``SLOW_BODY`` seconds: a body that trickles ends in time too."""


@define
class BodyBytes:
    """The bytes of all bodies that are being worked on."""

    most: int
    taken: int = field(default=0, init=False)

    def take(self, size: int) -> None:
        """Make room for more.

        Raises:
            RefusedRequestError: there is none.
        """
        if self.taken + size > self.most:
            raise RefusedRequestError(429, "busy", "too much is coming in", **{"retry-after": "1"})
        self.taken += size


@define(eq=False)
class RequestBody:
    """The body of one request; its ``receive`` is an ASGI application's."""

    _receive: Receive
    announced: int | None
    """Bytes by Content-Length; None: it comes in chunks, and ends when it ends."""
    most: int
    """Bytes that one body may have."""
    room: BodyBytes
    _came: int = field(default=0, init=False)
    _counted: int = field(default=0, init=False)
    _is_whole: bool = field(default=False, init=False)
    _started: float | None = field(default=None, init=False)

    def open(self) -> None:
        """Make room for what was announced.

        Raises:
            RefusedRequestError: there is none.
        """
        self._is_whole = self.announced == 0
        self._count(self.announced or 0)

    async def receive(self) -> Message:
        """Return the next piece, and after the last one what happens to the connection.

        Raises:
            RefusedRequestError: it is too long, too slow, or not as long as was announced.
        """
        if self._is_whole:
            return await self._receive()
        message = await self._next()
        if message["type"] == "http.disconnect":
            if self.announced:
                raise RefusedRequestError(400, "length", _WRONG_LENGTH)
            return message
        self._came += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self.announced is None:
            self._check_chunks()
        elif self._came > self.announced or (self._is_whole and self._came < self.announced):
            raise RefusedRequestError(400, "length", _WRONG_LENGTH)
        return message

    def let_go(self) -> None:
        """Its bytes are not held any more."""
        self.room.taken -= self._counted
        self._counted = 0

    async def _next(self) -> Message:
        now = asyncio.get_running_loop().time()
        if self._started is None:
            self._started = now
        # However small its pieces: what came so far buys so much time.
        deadline = self._started + SLOW_BODY + self._came / SLOWEST_BODY
        try:
            async with asyncio.timeout_at(deadline):
                return await self._receive()
        except TimeoutError:
            raise RefusedRequestError(408, "slow_body", "the body does not arrive") from None

    def _check_chunks(self) -> None:
        if self._came > self.most:
            raise too_large(self.most)
        if self._came > self._counted:
            self._count(self._came - self._counted)

    def _count(self, size: int) -> None:
        self.room.take(size)
        self._counted += size


_WRONG_LENGTH = "the body is not as long as Content-Length says"


def too_large(most: int) -> RefusedRequestError:
    return RefusedRequestError(
        413, "too_large", f"a body may have {most:,} bytes (http.max_body_bytes)"
    )
