"""What one listener is told, in order: news of the tasks it asked for, and what it missed."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

from attrs import define, field

from paintmq.gateway.live.feed import Feed, News
from paintmq.gateway.live.feeds import Feeds
from paintmq.http_api import Caller

FAR_BEHIND = 8
"""News that a listener has not taken yet, beyond which it gets no previews."""
PREVIEW_QUALITY = 70


@define(eq=False)
class Listener:
    """One connection's view of its owner's feed."""

    feeds: Feeds
    caller: Caller
    feed: Feed
    wanted: set[str] = field(factory=set[str])
    everything: bool = False
    """All tasks of the owner, beside those that are wanted by their ids."""
    previews: bool = False
    had: int = 0
    """Number of the latest news it has."""
    _shown: dict[str, int] = field(factory=dict[str, int], init=False)
    """Which step's preview of a task it was sent last."""

    def resume(self, feed_id: str, number: int) -> dict[str, Any] | None:
        """Go on after what the listener had; return what to tell it if something is lost."""
        if feed_id == self.feed.id:
            self.had = min(number, self.feed.last)
            if not self.feed.has_forgotten(number):
                return None
        return {"type": "missed", "feed": self.feed.id, "after": number}

    def wants(self, task_id: str) -> bool:
        return self.everything or task_id in self.wanted

    async def told(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what is new, without end; what is not taken in time is passed over."""
        while True:
            if self.feed.has_forgotten(self.had) and self.had:
                yield {"type": "missed", "feed": self.feed.id, "after": self.had}
            news = self.feed.since(self.had)
            for each in news:
                # Not what it was when the listener began to be told: what it is by now.
                latest = self.feed.latest(each.task_id)
                self.had = each.number
                if latest is each and self.wants(each.task_id):
                    yield await self._message(each, far_behind=len(news) > FAR_BEHIND)
            if not news:
                await self.feed.wait(self.had)

    def present(self, task_id: str) -> dict[str, Any] | None:
        """Return the present state of a task, as news."""
        news = self.feed.latest(task_id)
        return None if news is None else _fields(self.feed, news)

    async def _message(self, news: News, *, far_behind: bool) -> dict[str, Any]:
        message = _fields(self.feed, news)
        if not self.previews or far_behind or news.is_ending:
            self._shown.pop(news.task_id, None)
            return message
        handle = self.feeds.handle(self.caller, news.task_id)
        progress = None if handle is None else handle.progress()
        if progress is None or progress.preview is None:
            return message
        if self._shown.get(news.task_id) == progress.step:
            return message
        self._shown[news.task_id] = progress.step
        from paintmq.image import encode_image

        data = await asyncio.to_thread(
            encode_image, progress.preview, "jpeg", quality=PREVIEW_QUALITY
        )
        height, width = progress.preview.shape[:2]
        message["preview"] = {
            "format": "jpeg",
            "width": width,
            "height": height,
            "data": base64.b64encode(data).decode(),
        }
        return message


def _fields(feed: Feed, news: News) -> dict[str, Any]:
    return {"type": "task", "feed": feed.id, "number": news.number, **news.fields}
