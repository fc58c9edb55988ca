"""Answers in OpenAI's shapes: pictures, events of a stream, errors, addresses that end."""

import asyncio
import base64
import json
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, field, frozen
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from paintmq.gateway.apis.faults import ApiError, fault_of
from paintmq.gateway.apis.pictures import MEDIA_TYPES
from paintmq.gateway.apis.work import LeftError
from paintmq.task import Json

LINK_SECONDS = 600.0
"""For which a picture can be fetched by its address."""
LINK_BYTES = 64 * 1024 * 1024
"""Pictures that are kept for that, in memory; the oldest go first."""
USAGE: dict[str, Json] = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}
"""Nothing is counted in tokens here, and SDKs expect the figures."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

Tell = Callable[[str, Mapping[str, Json]], Awaitable[None]]
"""Sends an event of a type, with its fields."""


def text_of(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


# ---- errors --------------------------------------------------------------------------------------


def error_body(status: int, code: str, message: str, param: str | None = None) -> Json:
    """Return an error as the SDKs read it."""
    known = "server_error" if status >= 500 else "invalid_request_error"
    code = "invalid_api_key" if status == 401 else code
    kind = _TYPES.get(status, known)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_answer(error: Exception) -> Response:
    fault = fault_of(error)
    headers = {"x-request-id": secrets.token_hex(8), **fault.headers}
    if fault.status >= 500 or fault.status in (408, 409):
        # A try that failed for good would fail again, and each try is a new task.
        headers["x-should-retry"] = "false" if fault.status != 503 else "true"
    return JSONResponse(
        error_body(fault.status, fault.code, fault.message, fault.param), fault.status, headers
    )


# ---- streams -------------------------------------------------------------------------------------


@frozen
class EventStream:
    """Server-sent events, as an ASGI application."""

    produce: Callable[[Tell], Awaitable[None]]
    log: Callable[[Exception], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def tell(kind: str, fields: Mapping[str, Json]) -> None:
            data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
            body = f"event: {kind}\ndata: {data}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})

        try:
            await self.produce(tell)
        except LeftError:
            return
        except Exception as error:  # noqa: BLE001 -- the status is out; the stream says it
            self.log(error)
            fault: ApiError = fault_of(error)
            body: Any = error_body(fault.status, fault.code, fault.message, fault.param)
            await tell("error", body)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


# ---- addresses -----------------------------------------------------------------------------------


@frozen(eq=False)
class _Linked:
    picture: bytes
    media_type: str
    until: float


@define
class Links:
    """Pictures that can be fetched for a while by whoever has their address."""

    most_bytes: int = LINK_BYTES
    _pictures: OrderedDict[str, _Linked] = field(factory=OrderedDict[str, _Linked], init=False)

    def add(self, picture: bytes, format: str) -> str:
        """Keep the picture for a while; return the name it has in its address."""
        now = asyncio.get_running_loop().time()
        name = f"{secrets.token_urlsafe(24)}.{format}"
        self._pictures[name] = _Linked(picture, MEDIA_TYPES[format], now + LINK_SECONDS)
        while self._pictures and (
            self._held() > self.most_bytes or next(iter(self._pictures.values())).until <= now
        ):
            self._pictures.popitem(last=False)
        return name

    def get(self, name: str) -> Response | None:
        """Return the answer with the picture; None if there is none (any more)."""
        linked = self._pictures.get(name)
        if linked is None or linked.until <= asyncio.get_running_loop().time():
            return None
        return Response(linked.picture, media_type=linked.media_type)

    def _held(self) -> int:
        return sum(len(each.picture) for each in self._pictures.values())
