"""``/v1/events``: the same news as Server-Sent Events, for those without a WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from paintmq.gateway.guard import SLOT
from paintmq.gateway.live.feeds import Feeds
from paintmq.gateway.live.listener import Listener
from paintmq.gateway.services import caller_of, require_role

SILENCE = 15.0
"""Seconds after which a comment keeps the connection alive, and finds out if it is not."""


async def server_sent_events(request: Request, feeds: Feeds) -> Response:
    """Answer with an endless stream; with ``task=ID`` it ends with the task.

    A browser that reconnects sends ``Last-Event-ID`` by itself, and gets what came since.
    """
    caller = caller_of(request)
    require_role(caller, "user", "admin")
    task_id = request.query_params.get("task", "")
    with feeds.listening(caller) as feed:
        listener = Listener(feeds, caller, feed, had=feed.last)
        listener.previews = request.query_params.get("previews") in ("1", "true")
        if task_id:
            task_id = await feeds.watch(caller, task_id)
            listener.wanted.add(task_id)
            news = feed.latest(task_id)
            listener.had = feed.last if news is None else news.number - 1
        else:
            listener.everything = True
            await feeds.watch_all(caller)
    stream = _events(request, feeds, listener, task_id)
    return StreamingResponse(stream, media_type="text/event-stream")


async def _events(
    request: Request, feeds: Feeds, listener: Listener, task_id: str
) -> AsyncIterator[str]:
    slot = request.scope.get(SLOT)
    with feeds.listening(listener.caller), slot.waiting() if slot else nullcontext():
        feed_id, _, number = request.headers.get("last-event-id", "").partition("-")
        if number.isascii() and number.isdecimal() and len(number) < 18:
            missed = listener.resume(feed_id, int(number))
            if missed is not None:
                yield f"event: missed\ndata: {json.dumps(missed)}\n\n"
        told = aiter(listener.told())
        following = asyncio.ensure_future(anext(told))
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=SILENCE)
                if not done:
                    yield ": still here\n\n"
                    continue
                message = following.result()
                name = message["type"]
                number = f"id: {message['feed']}-{message['number']}\n" if name == "task" else ""
                yield f"{number}event: {name}\ndata: {json.dumps(message)}\n\n"
                news = listener.feed.latest(task_id)
                if news is not None and news.is_ending and message.get("number") == news.number:
                    return
                following = asyncio.ensure_future(anext(told))
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
