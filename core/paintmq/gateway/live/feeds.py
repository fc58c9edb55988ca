"""The feeds of those who listen, and what fills them: the tasks they hand in, or name."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from attrs import define, field

from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.errors import PaintMQError
from paintmq.gateway.callers_tasks import CallersTasks
from paintmq.gateway.live.feed import Feed
from paintmq.gateway.task_listing import described
from paintmq.http_api import Caller
from paintmq.task import TaskState

KEPT_SECONDS = 120.0
"""A feed that nobody listens to any more is kept so long, for those who come back."""
PAUSE = 0.1
"""Seconds between two news of one task, but for its ending."""
MAX_WATCHED = 1_000
"""Tasks of one feed that are watched at a time."""


@define(eq=False)
class _Watched:
    """A feed, who listens, and which tasks fill it."""

    feed: Feed
    listeners: int = 0
    left_at: float = 0.0
    watches: "dict[str, asyncio.Task[None]]" = field(factory=dict)
    handles: dict[str, AsyncTaskHandle] = field(factory=dict[str, AsyncTaskHandle])


@define(eq=False)
class Feeds:
    """One feed an owner, for as long as somebody listens, and a while longer."""

    tasks: CallersTasks
    clock: Callable[[], float] = time.monotonic
    _feeds: dict[str, _Watched] = field(factory=dict[str, _Watched], init=False)

    @contextmanager
    def listening(self, caller: Caller) -> Iterator[Feed]:
        """Hold the caller's feed while somebody listens to it."""
        self._sweep()
        watched = self._feeds.get(caller.owner)
        if watched is None:
            watched = self._feeds[caller.owner] = _Watched(Feed(secrets.token_hex(4)))
        watched.listeners += 1
        try:
            yield watched.feed
        finally:
            watched.listeners -= 1
            watched.left_at = self.clock()

    async def watch(self, caller: Caller, task_id: str) -> str:
        """Have the caller's feed told of one of its tasks; return the task's id as it is written.

        Raises:
            TaskUnknownError: there is none, or it is another's.
        """
        checked = self.tasks.checked_id(caller, task_id)
        watched = self._feeds[caller.owner]
        news = watched.feed.latest(checked)
        if checked not in watched.watches and (news is None or not news.is_ending):
            told = await self.tasks.describe(caller, checked)
            if TaskState(told["state"]).is_final:
                watched.feed.publish(checked, told, is_ending=True)
            else:
                self._follow(watched, await self.tasks.find(caller, checked))
        return checked

    async def watch_all(self, caller: Caller) -> None:
        """Have the caller's feed told of all its unfinished tasks."""
        for row in await self.tasks.own_rows(caller):
            if not TaskState(row["state"]).is_final:
                with suppress(PaintMQError):
                    await self.watch(caller, row["id"])

    def submitted(self, caller: Caller, handle: AsyncTaskHandle) -> None:
        """Have a feed told of a task that was handed in now, if somebody listens."""
        self._sweep()
        watched = self._feeds.get(caller.owner)
        if watched is not None:
            self._follow(watched, handle)

    def handle(self, caller: Caller, task_id: str) -> AsyncTaskHandle | None:
        """Return the handle of a task that is watched, for its preview."""
        watched = self._feeds.get(caller.owner)
        return None if watched is None else watched.handles.get(task_id)

    def close(self) -> None:
        for watched in self._feeds.values():
            for watch in watched.watches.values():
                watch.cancel()
        self._feeds.clear()

    def _follow(self, watched: _Watched, handle: AsyncTaskHandle) -> None:
        if handle.id in watched.watches:
            return
        if len(watched.watches) >= MAX_WATCHED:  # the oldest is asked for again by who wants it
            watched.watches.pop(next(iter(watched.watches))).cancel()
        watched.handles[handle.id] = handle
        watched.watches[handle.id] = asyncio.create_task(self._watch(watched, handle))

    async def _watch(self, watched: _Watched, handle: AsyncTaskHandle) -> None:
        try:
            async for _ in handle.updates():
                watched.feed.publish(handle.id, described(handle), is_ending=handle.done())
                if not handle.done():
                    await asyncio.sleep(PAUSE)
        finally:
            watched.watches.pop(handle.id, None)
            watched.handles.pop(handle.id, None)

    def _sweep(self) -> None:
        latest = self.clock() - KEPT_SECONDS
        for owner, watched in list(self._feeds.items()):
            if not watched.listeners and watched.left_at <= latest:
                for watch in watched.watches.values():
                    watch.cancel()
                del self._feeds[owner]
