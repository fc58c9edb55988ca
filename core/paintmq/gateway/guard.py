"""What every HTTP request must satisfy before any route sees it. Plain ASGI, no framework.

In this order: probes are answered; host and origin, method, who calls, how often, a place among
those that are served, how large the body is. A WebSocket's handshake passes the same checks.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias
from urllib.parse import quote

from attrs import define, field, frozen

from paintmq.gateway.asgi import App, Message, Receive, Scope, Send
from paintmq.gateway.callers import NO_CALLER, Callers
from paintmq.gateway.origins import (
    Address,
    Origins,
    check_ambient,
    cors_headers,
    preflight_headers,
)
from paintmq.gateway.rates import Rates
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.request_body import SLOW_BODY, SLOWEST_BODY, BodyBytes, RequestBody, too_large
from paintmq.gateway.slots import FairSlots
from paintmq.http_api import SAFE_POLICY, Caller, HttpApi, api_of, is_public, plain_error

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "DELETE")
SLOT = "paintmq.slot"
"""Key of a request's ``Slot`` in its scope."""
TOO_MUCH_WAITS = 1013
DRAINED = 32 * 1024 * 1024
"""Bytes of a refused body that are read so that the refusal can be."""
DRAIN_SECONDS = 5.0
KNOWN_SECONDS = 2.0
"""Between two looks whether the token of a WebSocket, or of an endless answer, is still good."""

Probe: TypeAlias = Callable[[], Awaitable[tuple[int, Mapping[str, object]]]]
"""Answers with a status and a JSON object, and tells strangers nothing but whether all is well."""


@frozen(kw_only=True)
class GuardLimits:
    """How much may be served at once."""

    body: int
    """Bytes of one request's body."""
    bodies: int
    """Bytes of the bodies of all requests that are being served."""
    requests: int
    """Requests that are being served."""


class _LeftError(BaseException):
    """The peer does not take its answer: nothing on the way up may try to answer instead."""


@frozen
class _Admitted:
    """A request that may be served."""

    api: HttpApi | None
    caller: Caller
    address: Address
    headers: Mapping[str, bytes]


@define
class Guard:
    """An ASGI application around another one."""

    app: App
    callers: Callers = field(repr=False)
    origins: Origins
    limits: GuardLimits
    apis: Sequence[HttpApi] = ()
    """Whose paths need no token, and in which shape they are refused."""
    probes: Mapping[str, Probe] = field(factory=dict[str, Probe])
    """By path: served without a token, for any Host."""
    rates: Rates = field(factory=lambda: Rates(time.monotonic))
    slots: FairSlots = field(init=False)
    bodies: BodyBytes = field(init=False)

    @slots.default
    def _make_slots(self) -> FairSlots:
        return FairSlots(self.limits.requests)

    @bodies.default
    def _make_bodies(self) -> BodyBytes:
        return BodyBytes(self.limits.bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._serve_websocket(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") in self.probes and scope["method"] in ("GET", "HEAD"):
            await _answer(send, *await self.probes[scope["path"]]())
            return
        try:
            admitted = self._admit(scope)
            if scope["method"] == "OPTIONS":
                await _answer_preflight(send, admitted)
                return
            if scope["method"] == "POST":
                self.rates.spend(admitted.caller)
            announced = self._announced(admitted.headers)
            slot = await self.slots.take(admitted.caller.name)
        except RefusedRequestError as refusal:
            await self._refuse(scope, receive, send, refusal)
            return
        scope[SLOT] = slot
        body = RequestBody(receive, announced, self.limits.body, self.bodies)
        slot.when_waiting = body.let_go
        answering = _Answering(send, admitted, self.callers)
        try:
            body.open()
            await self.app(scope, body.receive, answering.send)
        except RefusedRequestError as refusal:
            if not answering.began:
                await self._refuse(scope, receive, send, refusal)
        except _LeftError:
            logger.info("a request was dropped: its answer is not read, or its token revoked")
        finally:
            slot.release()
            body.let_go()

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            admitted = self._admit(scope)
        except RefusedRequestError as refusal:
            if "websocket.http.response" in scope.get("extensions", {}):
                await _send_refusal(send, refusal, scope, self._api(scope), "websocket.http")
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        try:
            # It lasts for hours and holds little, as a request that waits does.
            with self.slots.waits(admitted.caller.name):
                await self._while_known(admitted, self.app(scope, receive, send), send)
        except RefusedRequestError:
            await send({"type": "websocket.close", "code": TOO_MUCH_WAITS})

    # --------------------------------------------------------------------------------------------

    def _admit(self, scope: Scope) -> _Admitted:
        """Check who asks from where, and write it into the scope.

        Raises:
            RefusedRequestError: the request must not be served.
        """
        headers = _headers(scope)
        address = self.origins.address(scope, headers)
        scope.setdefault("state", {})["address"] = address
        method = scope.get("method", "GET")
        _set_path(scope, address)
        api = self._api(scope)
        is_preflight = method == "OPTIONS" and "access-control-request-method" in headers
        if is_preflight and address.origin:
            return _Admitted(api, NO_CALLER, address, headers)
        if method not in METHODS:
            raise RefusedRequestError(405, "method", f"use one of {', '.join(METHODS)}")
        caller = self.callers.of(headers)
        if caller is None:
            if not is_public(api, _inner_path(scope)):
                raise _unknown_caller(scope, api, headers)
            caller = NO_CALLER
        elif caller.ambient:
            check_ambient(address, headers, method)
        scope["state"]["caller"] = caller
        return _Admitted(api, caller, address, headers)

    async def _while_known(self, admitted: _Admitted, serving: Awaitable[None], send: Send) -> None:
        """Serve a WebSocket, however silent, for as long as its token is good."""
        running = asyncio.ensure_future(serving)
        try:
            while not (await asyncio.wait({running}, timeout=KNOWN_SECONDS))[0]:
                if not _is_known(admitted, self.callers):
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                    with suppress(RuntimeError):  # it is closed already
                        await send({"type": "websocket.close", "code": 1008, "reason": "token"})
                    logger.info("a WebSocket was closed: its token is no longer good")
                    return
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, refusal: RefusedRequestError
    ) -> None:
        await _send_refusal(send, refusal, scope, self._api(scope), "http")
        # Closed in the middle of what the client still sends, the connection would be reset, and
        # the client would never read why.
        await _drain(scope, receive)
        await send({"type": "http.response.body", "body": b""})

    def _api(self, scope: Scope) -> HttpApi | None:
        return api_of(self.apis, _inner_path(scope))

    def _announced(self, headers: Mapping[str, bytes]) -> int | None:
        """Return the size of the body that is about to come; None if it comes in chunks."""
        if "transfer-encoding" in headers:
            return None
        text = headers.get("content-length", b"0").decode("latin-1")
        if not (text.isascii() and text.isdecimal()):
            raise RefusedRequestError(400, "length", "Content-Length is no number")
        size = int(text[:20])
        if size > self.limits.body:
            raise too_large(self.limits.body)
        return size


def _is_known(admitted: _Admitted, callers: Callers) -> bool:
    return not admitted.caller.name or callers.of(admitted.headers) is not None


def _set_path(scope: Scope, address: Address) -> None:
    """Write the path before ours into the scope, as ASGI has it: ``path`` begins with it."""
    inner = str(scope.get("path", ""))
    prefix = address.prefix
    if prefix and (inner == prefix or inner.startswith(f"{prefix}/")):
        inner = inner[len(prefix) :]
    scope["root_path"] = prefix
    scope["path"] = prefix + (inner or "/")


def _inner_path(scope: Scope) -> str:
    return str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))


_ONCE = (
    *("host", "authorization", "content-length", "content-type", "origin"),
    *("x-forwarded-host", "x-forwarded-proto", "x-forwarded-prefix"),
)
"""Headers that must not come twice: two readers might each believe another one."""


def _headers(scope: Scope) -> dict[str, bytes]:
    headers: dict[str, bytes] = {}
    for key, value in scope["headers"]:
        name = bytes(key).lower().decode("latin-1")
        if name in _ONCE and name in headers:
            raise RefusedRequestError(400, "headers", f"{name} must not be sent twice")
        separator = b"; " if name == "cookie" else b", "
        headers[name] = headers[name] + separator + value if name in headers else bytes(value)
    return headers


@define(eq=False)
class _Answering:
    """A ``send`` that adds the headers of every answer and waits for no peer for ever."""

    _send: Send
    _admitted: _Admitted
    _callers: Callers
    began: bool = field(default=False, init=False)
    _look_at: float = field(init=False)

    @_look_at.default
    def _first_look(self) -> float:
        return time.monotonic() + KNOWN_SECONDS

    async def send(self, message: Message) -> None:
        if self._look_at <= time.monotonic():
            # An answer without end, or that has waited long: for whom, if the token was revoked?
            self._look_at = time.monotonic() + KNOWN_SECONDS
            if not _is_known(self._admitted, self._callers):
                raise _LeftError
        if message["type"] == "http.response.start":
            self.began = True
            own = list(message.get("headers", []))
            given = {name.lower() for name, _ in own}
            fixed = _fixed_headers(self._admitted.api)
            message["headers"] = [
                *own,
                *(each for each in fixed if each[0] not in given),
                *cors_headers(self._admitted.address.origin),
            ]
        try:
            async with asyncio.timeout(SLOW_BODY + len(message.get("body", b"")) / SLOWEST_BODY):
                await self._send(message)
        except TimeoutError:
            raise _LeftError from None


def _fixed_headers(api: HttpApi | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer that does not set them itself."""
    policy = SAFE_POLICY if api is None else api.content_security_policy
    return [
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", policy.encode("latin-1")),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"same-origin"),
    ]


async def _answer_preflight(send: Send, admitted: _Admitted) -> None:
    headers = preflight_headers(admitted.address.origin, admitted.headers)
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, said: Mapping[str, object]) -> None:
    body = json.dumps(said).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *_fixed_headers(None),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _unknown_caller(
    scope: Scope, api: HttpApi | None, headers: Mapping[str, bytes]
) -> RefusedRequestError:
    """Return how somebody without a token is told so."""
    challenge = api.challenge if api is not None else "Bearer"
    opens_page = scope.get("method") == "GET" and b"text/html" in headers.get("accept", b"")
    if challenge == "Login" and opens_page:
        query = scope.get("query_string", b"").decode("latin-1")
        wanted = quote(_inner_path(scope) + (f"?{query}" if query else ""), safe="")
        where = f"{scope.get('root_path', '')}/login?next={wanted}"
        return RefusedRequestError(303, "token", "sign in first", location=where)
    scheme = "Bearer" if challenge == "Login" else challenge
    realm = f'{scheme} realm="PaintMQ"'
    message = "send Authorization: Bearer TOKEN"
    return RefusedRequestError(401, "token", message, **{"www-authenticate": realm})


async def _send_refusal(
    send: Send, refusal: RefusedRequestError, scope: Scope, api: HttpApi | None, kind: str
) -> None:
    """Send the refusal; over HTTP all but the end, which closes the connection."""
    shape = plain_error if api is None else api.error_body
    body = json.dumps(shape(refusal.status, refusal.code, str(refusal))).encode()
    address = scope.get("state", {}).get("address")
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what follows may be the rest of an unread body
        *((name.encode(), value.encode()) for name, value in refusal.headers.items()),
        *_fixed_headers(api),
        *cors_headers(address.origin if address is not None else ""),
    ]
    if scope.get("method") == "HEAD":
        body = b""
    more = kind == "http"
    await send({"type": f"{kind}.response.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body, "more_body": more})


async def _drain(scope: Scope, receive: Receive) -> None:
    """Read the rest of a refused body and throw it away, within limits."""
    headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
    size = headers.get(b"content-length", b"0")
    if b"expect" in headers or (b"transfer-encoding" not in headers and not size.strip(b"0")):
        return  # it waits to be asked for, or there is none
    left = DRAINED
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
