"""The routes of live news."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from paintmq.gateway.live.feeds import Feeds
from paintmq.gateway.live.server_sent import server_sent_events
from paintmq.gateway.live.websocket import live_socket
from paintmq.gateway.services import HttpServices


@define(eq=False)
class LiveRoutes:
    """The handlers."""

    services: HttpServices
    feeds: Feeds = field(init=False)

    @feeds.default
    def _make_feeds(self) -> Feeds:
        return Feeds(self.services.tasks)

    def routes(self) -> list[BaseRoute]:
        return [
            WebSocketRoute("/v1/ws", self.socket),
            WebSocketRoute("/v1/tasks/{id}/ws", self.socket),
            Route("/v1/ws", self.no_socket, methods=["GET"]),
            Route("/v1/events", self.events, methods=["GET"]),
        ]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Have feeds told of what is handed in, as long as the gateway serves."""
        self.services.tasks.when_submitted.append(self.feeds.submitted)
        try:
            yield
        finally:
            self.services.tasks.when_submitted.remove(self.feeds.submitted)
            self.feeds.close()

    async def socket(self, socket: WebSocket) -> None:
        await live_socket(socket, self.services, self.feeds)

    async def no_socket(self, request: Request) -> Response:
        said = {"code": "upgrade", "message": "connect to this path by WebSocket"}
        return JSONResponse(said, 426, {"upgrade": "websocket"})

    async def events(self, request: Request) -> Response:
        return await server_sent_events(request, self.feeds)
