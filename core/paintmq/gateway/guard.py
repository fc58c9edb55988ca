"""What every HTTP request must satisfy before any route sees it. Plain ASGI, no framework."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from attrs import define, field, frozen

from paintmq.gateway.callers import NO_CALLER, Callers
from paintmq.gateway.media_type import media_type
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.http_api import SAFE_POLICY, HttpApi, api_of, is_public, plain_error

logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = ("GET", "HEAD", "POST", "DELETE")
BODY_TYPES = (
    "application/json",
    "multipart/form-data",
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/tiff",
)
"""What a POST may carry. A form that another site's page makes a browser send has that site's
origin, which was refused before."""
SLOW_BODY = 10.0
"""Seconds for the next piece of a body to arrive, and for its peer to take one of the answer's."""
SLOWEST_BODY = 16 * 1024
"""Bytes a second, after the first ``SLOW_BODY`` seconds: a body that trickles ends in time too."""
MAX_WAITING = 512
"""Requests that wait for a result. They hold a connection and little else, so they take no place
from those that bring work."""
SLOT = "paintmq.slot"
"""Key of a request's ``Slot`` in its scope."""


def _fixed_headers(api: HttpApi | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer that does not set them itself."""
    policy = SAFE_POLICY if api is None else api.content_security_policy
    return [
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", policy.encode("latin-1")),
        (b"cache-control", b"no-store"),
    ]


@frozen(kw_only=True)
class GuardLimits:
    """How much may be served at once."""

    body: int
    """Bytes of one request's body."""
    bodies: int
    """Bytes of the bodies of all requests that are being served."""
    requests: int
    """Requests that are being served."""


@define(eq=False)
class Slot:
    """The place of one request among those that are served."""

    _guard: "Guard"

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Give up the place while the request only waits.

        Raises:
            RefusedRequestError: too many wait already.
        """
        guard = self._guard
        if guard.waiting >= MAX_WAITING:
            raise RefusedRequestError(429, "busy", "too many requests wait", **{"retry-after": "5"})
        guard.waiting += 1
        guard.serving -= 1
        try:
            yield
        finally:
            guard.waiting -= 1
            guard.serving += 1


class _LeftError(BaseException):
    """The peer does not take its answer: nothing on the way up may try to answer instead."""


@define
class Guard:
    """An ASGI application around another one."""

    app: App
    callers: Callers = field(repr=False)
    hosts: frozenset[str]
    """Values of the Host header that are meant for us: ``localhost:5580``. Any other may be a
    name that an attacker controls (DNS rebinding)."""
    limits: GuardLimits
    apis: Sequence[HttpApi] = ()
    """Whose paths need no token, and in which shape they are refused."""
    serving: int = field(default=0, init=False)
    """Requests that are being served, but for those that wait."""
    waiting: int = field(default=0, init=False)
    _bytes: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._serve_websocket(scope, receive, send)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._admit(scope)
        except RefusedRequestError as refusal:
            if "websocket.http.response" in scope.get("extensions", {}):
                await _refuse(send, refusal, self._api(scope), kind="websocket.http.response")
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        if self.waiting >= MAX_WAITING:
            await send({"type": "websocket.close", "code": 1013})
            return
        # It lasts for hours and holds little, as a request that waits does.
        self.waiting += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.waiting -= 1

    def _api(self, scope: Scope) -> HttpApi | None:
        return api_of(self.apis, scope.get("path", ""))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            size = self._check(scope)
        except RefusedRequestError as refusal:
            await _refuse(send, refusal, self._api(scope))
            return
        self.serving += 1
        self._bytes += size
        scope[SLOT] = Slot(self)
        try:
            body = await _read(receive, size)
            await self.app(scope, _replay(body, receive), _sender(send, self._api(scope)))
        except RefusedRequestError as refusal:
            await _refuse(send, refusal, self._api(scope))
        except _LeftError:
            logger.info("a request was dropped: its answer is not read")
        finally:
            self.serving -= 1
            self._bytes -= size

    def _check(self, scope: Scope) -> int:
        """Return the size of the body that is about to come.

        Raises:
            RefusedRequestError: the request must not be served.
        """
        if scope["method"] not in METHODS:
            raise RefusedRequestError(405, "method", f"use one of {', '.join(METHODS)}")
        headers = self._admit(scope)
        if self.serving >= self.limits.requests:
            raise RefusedRequestError(
                429, "busy", "too many requests at once", **{"retry-after": "1"}
            )
        return self._check_body(scope["method"], headers)

    def _check_origin(self, headers: Mapping[str, bytes]) -> None:
        host = headers.get("host", b"").decode("latin-1").lower()
        if host not in self.hosts:
            raise RefusedRequestError(403, "host", "this name is not one of http.hosts")
        if "origin" in headers:
            raise RefusedRequestError(403, "origin", "pages of other sites are not served")

    def _admit(self, scope: Scope) -> Mapping[str, bytes]:
        """Check who asks, and write it into the scope; return the headers by name.

        Raises:
            RefusedRequestError: the request must not be served.
        """
        headers = _headers(scope)
        self._check_origin(headers)
        api = self._api(scope)
        caller = self.callers.of(headers)
        if caller is None:
            if not is_public(api, scope.get("path", "")):
                scheme = api.challenge if api is not None else "Bearer"
                message = "send Authorization: Bearer TOKEN"
                raise RefusedRequestError(401, "token", message, **{"www-authenticate": scheme})
            caller = NO_CALLER
        scope.setdefault("state", {})["caller"] = caller
        return headers

    def _check_body(self, method: str, headers: Mapping[str, bytes]) -> int:
        if "transfer-encoding" in headers:
            raise RefusedRequestError(411, "length", "say how long the body is: Content-Length")
        text = headers.get("content-length", b"0").decode("latin-1")
        if not (text.isascii() and text.isdecimal()):
            raise RefusedRequestError(400, "length", "Content-Length is no number")
        size = int(text[:20])
        if size > self.limits.body:
            raise RefusedRequestError(
                413, "too_large", f"a body may have {self.limits.body:,} bytes"
            )
        if self._bytes + size > self.limits.bodies:
            raise RefusedRequestError(429, "busy", "too much is coming in", **{"retry-after": "1"})
        kind = media_type(headers.get("content-type", b"").decode("latin-1"))
        if (size or method == "POST") and kind not in BODY_TYPES:
            raise RefusedRequestError(415, "content_type", f"use one of {', '.join(BODY_TYPES)}")
        return size


_ONCE = ("host", "authorization", "content-length", "content-type", "origin")
"""Headers that must not come twice: two readers might each believe another one."""


def _headers(scope: Scope) -> dict[str, bytes]:
    headers: dict[str, bytes] = {}
    for key, value in scope["headers"]:
        name = bytes(key).lower().decode("latin-1")
        if name in _ONCE and name in headers:
            raise RefusedRequestError(400, "headers", f"{name} must not be sent twice")
        headers[name] = bytes(value)
    return headers


async def _read(receive: Receive, size: int) -> bytes:
    """Return the whole body, which must be as long as Content-Length said."""
    body = bytearray()
    started = asyncio.get_running_loop().time()
    while size:
        # However small its pieces: what came so far buys so much time.
        deadline = started + SLOW_BODY + len(body) / SLOWEST_BODY
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise RefusedRequestError(408, "slow_body", "the body does not arrive") from None
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            break
        if len(body) > size:
            break
    if len(body) != size:
        raise RefusedRequestError(400, "length", "the body is not as long as Content-Length says")
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that returns the body once, and then what arrives after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _sender(send: Send, api: HttpApi | None) -> Send:
    """Return a ``send`` that adds the headers of every answer and waits for no peer for ever."""
    fixed = _fixed_headers(api)

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", []))
            given = {name.lower() for name, _ in own}
            message["headers"] = [*own, *(each for each in fixed if each[0] not in given)]
        try:
            async with asyncio.timeout(SLOW_BODY + len(message.get("body", b"")) / SLOWEST_BODY):
                await send(message)
        except TimeoutError:
            raise _LeftError from None

    return send_with


async def _refuse(
    send: Send,
    refusal: RefusedRequestError,
    api: HttpApi | None,
    *,
    kind: str = "http.response",
) -> None:
    shape = plain_error if api is None else api.error_body
    body = json.dumps(shape(refusal.status, refusal.code, str(refusal))).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what follows may be the rest of an unread body
        *((name.encode(), value.encode()) for name, value in refusal.headers.items()),
        *_fixed_headers(api),
    ]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
