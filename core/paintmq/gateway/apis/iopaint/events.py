"""The page's socket.io connection: how far a caller's own work is.

Rule: a connection is opened with a token or cookie. The requests that go on with it by polling may
show its id instead, which was drawn at random and told to nobody else: python-socketio sends its
headers with the first request alone.
"""

from typing import Any
from urllib.parse import parse_qs

import socketio
from attrs import define
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from paintmq.client.result import Progress
from paintmq.gateway.apis.faults import detailed_error
from paintmq.gateway.apis.work import waiting_slot

PATH = "/socket.io/"
_MOST_BYTES = 16 * 1024
"""Of a message from a page: it never sends any but the protocol's own."""


@define(eq=False)
class Events:
    """Sends to the sockets of one caller, and to no other's."""

    server: socketio.AsyncServer
    _app: socketio.ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve polling and WebSockets, as an ASGI application."""
        if not scope["state"]["caller"].name and not self._is_open(scope):
            await _refuse(scope, receive, send)
        elif scope["type"] == "http":
            # A poll is held until there is something to tell: it takes no place of new work.
            with waiting_slot(scope):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        text = scope.get("query_string", b"").decode("latin-1")
        try:
            query = parse_qs(text, max_num_fields=8)
        except ValueError:
            return False
        return any(each in self.server.eio.sockets for each in query.get("sid", ()))

    async def progressed(self, caller: str, progress: Progress, steps: int) -> None:
        """Tell how far a task is, in terms of the steps that the page has asked for."""
        if progress.total and progress.step:
            # The page's bar is (step + 1) / steps; a strength below 1 leaves steps out.
            step = round(progress.step / progress.total * steps) - 1
            await self.server.emit("diffusion_progress", {"step": max(0, step)}, room=caller)

    async def finished(self, caller: str) -> None:
        await self.server.emit("diffusion_finish", room=caller)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocketClose(1008)(scope, receive, send)
        return
    body = detailed_error(401, "token", "send Authorization: Bearer TOKEN")
    await JSONResponse(body, 401)(scope, receive, send)


def make_events() -> Events:
    # The guard has checked the origin, by stricter rules.
    server = socketio.AsyncServer(
        async_mode="asgi", cors_allowed_origins=[], max_http_buffer_size=_MOST_BYTES
    )

    async def connect(sid: str, environ: dict[str, Any], auth: object = None) -> None:
        caller = environ["asgi.scope"]["state"]["caller"]
        await server.enter_room(sid, caller.owner)

    server.on("connect", connect)
    return Events(server, socketio.ASGIApp(server, socketio_path=PATH.strip("/")))
