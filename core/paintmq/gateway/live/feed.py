"""The news of one owner's tasks: the latest of each, numbered in the order of their coming."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

MAX_TASKS = 1_000
"""Of which the latest news are kept."""


@frozen
class News:
    """What was last heard of one task."""

    number: int
    task_id: str
    fields: Mapping[str, Any]
    is_ending: bool


@define(eq=False)
class Feed:
    """Numbers begin at 1, and belong to this feed alone: ``id`` tells it from an earlier one."""

    id: str
    last: int = field(default=0, init=False)
    """Number of the latest news; 0: none yet."""
    _forgotten: int = field(default=0, init=False)
    """Number of the latest news of a task that was forgotten to make room."""
    _latest: OrderedDict[str, News] = field(factory=OrderedDict[str, News], init=False)
    _more: asyncio.Event = field(factory=asyncio.Event, init=False)

    def publish(self, task_id: str, fields: Mapping[str, Any], *, is_ending: bool) -> None:
        known = self._latest.get(task_id)
        if known is not None and (known.is_ending or known.fields == fields):
            return  # nothing comes after an ending
        self.last += 1
        self._latest[task_id] = News(self.last, task_id, fields, is_ending)
        self._latest.move_to_end(task_id)
        if len(self._latest) > MAX_TASKS:
            _, oldest = self._latest.popitem(last=False)
            self._forgotten = oldest.number
        self._more.set()
        self._more = asyncio.Event()

    def since(self, number: int) -> list[News]:
        """Return the news after this number, in order."""
        found: list[News] = []
        for news in reversed(self._latest.values()):
            if news.number <= number:
                break
            found.append(news)
        return found[::-1]

    def has_forgotten(self, number: int) -> bool:
        """Return whether news after this number are no longer known."""
        return number < self._forgotten

    def latest(self, task_id: str) -> News | None:
        return self._latest.get(task_id)

    async def wait(self, number: int) -> None:
        """Return once there are news after this number."""
        while self.last <= number:
            await self._more.wait()
