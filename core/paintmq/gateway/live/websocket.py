"""``/v1/ws``: one WebSocket for everything a page or program wants to know, and to do.

Every message is one JSON object in text. ``/v1/ws?task=ID`` follows one task: its present state at
once, each change, its ending, and then the connection is closed.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from attrs import define, field
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from paintmq.errors import PaintMQError, TaskUnknownError
from paintmq.gateway.answers import error_fields
from paintmq.gateway.handing_in import hand_in
from paintmq.gateway.live.feeds import Feeds
from paintmq.gateway.live.listener import Listener
from paintmq.gateway.live.requests import CONTROLS, LiveRequest, live_request
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.services import HttpServices, caller_of, require_role
from paintmq.gateway.task_listing import described
from paintmq.http_api import Caller

logger = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""A listener that takes nothing for so long is cut off."""
SERVICE_SECONDS = 2.0
"""Between two news of queues and workers."""
MAX_MESSAGE = 4 * 1024 * 1024
"""Characters. The server itself takes somewhat more: whom it cuts off is not told why."""
NOT_TEXT, NOT_JSON, TOO_LONG, TOO_SLOW = 1003, 1007, 1009, 1013


@define(eq=False)
class LiveSocket:
    """One connection."""

    socket: WebSocket
    services: HttpServices
    feeds: Feeds
    listener: Listener
    _sending: asyncio.Lock = field(factory=asyncio.Lock, init=False)
    _service: "asyncio.Task[None] | None" = field(default=None, init=False)

    @property
    def caller(self) -> Caller:
        return self.listener.caller

    async def serve(self) -> None:
        """Tell and listen until the client leaves, or is cut off."""
        await self.send({"type": "hello", "feed": self.listener.feed.id})
        try:
            await _first_of(self._tell(), self._listen(), close=self.close)
        finally:
            if self._service is not None:
                self._service.cancel()
                await asyncio.gather(self._service, return_exceptions=True)

    async def follow(self, task_id: str) -> None:
        """Tell of one task until it has ended."""
        await _first_of(self._tell_of(task_id), self._ignore(), close=self.close)

    async def send(self, message: dict[str, Any]) -> None:
        async with self._sending, asyncio.timeout(SEND_SECONDS):
            await self.socket.send_text(json.dumps(message, separators=(",", ":")))

    async def close(self, code: int, reason: str = "") -> None:
        with suppress(RuntimeError, WebSocketDisconnect):  # it has left meanwhile
            await self.socket.close(code, reason[:120])

    # --------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        async for message in self.listener.told():
            await self.send(message)

    async def _tell_of(self, task_id: str) -> None:
        async for message in self.listener.told():
            if message["type"] != "task":
                continue  # of other tasks
            await self.send(message)
            news = self.listener.feed.latest(task_id)
            if news is not None and news.is_ending and message.get("number") == news.number:
                await self.close(1000)
                return

    async def _ignore(self) -> None:
        """Whatever is said here is not listened to, text or not."""
        while (await self.socket.receive())["type"] != "websocket.disconnect":
            pass

    async def _listen(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                await self.close(NOT_TEXT, "send text")
                return
            if len(text) > MAX_MESSAGE:
                await self.close(TOO_LONG, f"a message has at most {MAX_MESSAGE:,} characters")
                return
            try:
                request = live_request(text)
            except ValueError as error:
                await self.close(NOT_JSON, str(error))
                return
            await self._answer(request)

    async def _answer(self, request: LiveRequest) -> None:
        try:
            told = await self._do(request)
        except RefusedRequestError as refusal:
            told = {"error": {"code": refusal.code, "message": str(refusal)}}
        except (PaintMQError, TimeoutError) as error:
            told = {"error": error_fields(error)}
        except Exception:  # a bug of ours costs an answer, not all that the client listens to
            logger.exception("a message to /v1/ws could not be answered")
            said = "something went wrong here; see the log"
            told = {"error": {"code": "server_error", "message": said}}
        await self.send({"type": "answer", "ref": request.ref, **told})

    async def _do(self, request: LiveRequest) -> dict[str, Any]:
        if request.previews is not None:
            self.listener.previews = request.previews
        told: dict[str, Any] = {}
        if request.resume is not None:
            missed = self.listener.resume(request.resume.feed, request.resume.number)
            told["missed"] = missed is not None
        if request.subscribe is not None:
            await self._subscribe(request.subscribe)
        if request.unsubscribe is not None:
            self._unsubscribe(request.unsubscribe)
        if request.submit is not None:
            self.services.tasks.rates.spend(self.caller)
            handle = await hand_in(self.services, self.caller, request.submit)
            self.listener.wanted.add(handle.id)
            told["task"] = described(handle)
        if request.cancel is not None:
            told["cancel"] = await self.services.tasks.cancel(self.caller, request.cancel)
        if request.control is not None:
            require_role(self.caller, "admin")
            if request.control.subject not in CONTROLS:
                raise RefusedRequestError(400, "control", f"there are {', '.join(CONTROLS)}")
            told["control"] = await self.services.client.ask(
                request.control.subject, **_plain(request.control.arguments)
            )
        return told

    async def _subscribe(self, wanted: list[str] | str) -> None:
        if wanted == "service":
            require_role(self.caller, "admin")
            if self._service is None:
                self._service = asyncio.create_task(self._tell_of_service())
        elif wanted == "tasks":
            self.listener.everything = True
            await self.feeds.watch_all(self.caller)
        else:
            for task_id in [wanted] if isinstance(wanted, str) else wanted:
                checked = await self.feeds.watch(self.caller, task_id)
                self.listener.wanted.add(checked)
                present = self.listener.present(checked)
                if present is not None and present["number"] <= self.listener.had:
                    await self.send(present)

    def _unsubscribe(self, unwanted: list[str] | str) -> None:
        if unwanted == "service" and self._service is not None:
            self._service.cancel()
            self._service = None
        elif unwanted == "tasks":
            self.listener.everything = False
        else:
            self.listener.wanted -= {unwanted} if isinstance(unwanted, str) else set(unwanted)

    async def _tell_of_service(self) -> None:
        while True:
            message: dict[str, Any] = {"type": "service"}
            try:
                message["statistics"] = await self.services.client.ask("statistics")
                message["workers"] = await self.services.client.ask("workers")
            except (PaintMQError, TimeoutError) as error:
                message["error"] = error_fields(error)
            with suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                await self.send(message)
            await asyncio.sleep(SERVICE_SECONDS)


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what goes to the broker, and is no argument of ``ask`` itself."""
    own = ("self", "subject", "timeout")
    return {name: value for name, value in arguments.items() if name not in own}


async def _first_of(*ways: Awaitable[None], close: Callable[[int, str], Awaitable[None]]) -> None:
    """Run both until one is done: the client has left, is told all, or does not read."""
    running = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    except TimeoutError:
        await close(TOO_SLOW, "you take nothing")
    except (WebSocketDisconnect, RuntimeError):
        pass  # it has left
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def live_socket(socket: WebSocket, services: HttpServices, feeds: Feeds) -> None:
    """Serve one connection that the guard has let in."""
    caller = caller_of(socket)
    task_id = socket.path_params.get("id") or socket.query_params.get("task", "")
    with feeds.listening(caller) as feed:
        listener = Listener(feeds, caller, feed, had=feed.last)
        live = LiveSocket(socket, services, feeds, listener)
        if caller.role == "metrics":
            said = {"code": "role", "message": "a token for figures alone follows no tasks"}
            await socket.send_denial_response(JSONResponse(said, 403))
            return
        if not task_id:
            await socket.accept()
            await live.serve()
            return
        try:
            checked = await feeds.watch(caller, task_id)
        except TaskUnknownError as error:
            await socket.send_denial_response(JSONResponse(error_fields(error), 404))
            return
        listener.wanted.add(checked)
        listener.previews = socket.query_params.get("previews") in ("1", "true")
        news = feed.latest(checked)
        listener.had = feed.last if news is None else news.number - 1
        await socket.accept()
        await live.follow(checked)
