"""Delivers the webhooks of a folder: waits for the ends of their tasks, sends, and tries again.

Of the gateways that share a folder one delivers; another takes over when it ends.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from attrs import define, field

from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.errors import PaintMQError, TaskUnknownError
from paintmq.gateway.callers import unix_time
from paintmq.gateway.callers_tasks import CallersTasks
from paintmq.gateway.task_listing import described
from paintmq.gateway.webhooks.delivery_places import DeliveryPlaces
from paintmq.gateway.webhooks.folder import HookFolder
from paintmq.gateway.webhooks.hook import Attempt, Hook
from paintmq.gateway.webhooks.payload import payload
from paintmq.http_api import Caller

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Between two looks at the folder, for what other gateways have written."""
KEPT_SECONDS = 7 * 86_400.0
"""A webhook that is over is told of for so long."""
KEPT = 10_000
"""Of those that are over."""
SYSTEM = Caller(name="webhooks", role="admin", owner="")

Send = Callable[[Hook], Awaitable[Attempt]]


@define(eq=False)
class Courier:
    """Runs for as long as the gateway does."""

    folder: HookFolder
    tasks: CallersTasks
    send: Send
    root_path: str = ""
    clock: Callable[[], float] = unix_time
    look_seconds: float = LOOK_SECONDS
    rng: random.Random = field(factory=random.Random)
    places: DeliveryPlaces = field(factory=DeliveryPlaces)
    _hooks: dict[str, Hook] = field(factory=dict[str, Hook], init=False)
    """Those that are not over."""
    _followed: set[str] = field(factory=set[str], init=False)
    _over: dict[str, float] = field(factory=dict[str, float], init=False)
    """Files of those that are over, and when they were written."""
    _sending: "dict[str, asyncio.Task[None]]" = field(factory=dict, init=False)
    """By task."""
    _keeping: "set[asyncio.Task[None]]" = field(factory=set, init=False)
    _woken: asyncio.Event = field(factory=asyncio.Event, init=False)
    _look_at: float = field(default=0.0, init=False)
    """When the folder is looked at next."""

    def look(self) -> None:
        """Look at the folder now: something was written there."""
        self._look_at = 0.0
        self._woken.set()

    async def run(self) -> None:
        """Deliver until it is cancelled; another gateway's turn is waited for."""
        try:
            while True:
                self._woken.clear()
                try:
                    if await asyncio.to_thread(self.folder.try_lock):
                        await self._turn()
                except OSError as error:
                    logger.warning("webhooks wait: %s: %s", self.folder.path, error)
                await self._pause()
        finally:
            running = [*self._sending.values(), *self._keeping]
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self.folder.unlock()

    async def _turn(self) -> None:
        if self._look_at <= self.clock():
            self._look_at = self.clock() + self.look_seconds
            await self._read_new()
            await self._remove_old()
        await self._follow()
        self._send_due()

    async def _pause(self) -> None:
        """Wait until something may be due."""
        now = self.clock()
        due = [
            hook.next_at - now
            for hook in self._hooks.values()
            if hook.state == "sending"
            and self.places.may_take(hook.url)
            and hook.task not in self._sending
        ]
        seconds = min([self.look_seconds, *due])  # another's lock is tried as often
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _read_new(self) -> None:
        names = await asyncio.to_thread(self.folder.names)
        for task_id in names - self._hooks.keys() - self._over.keys():
            hook = await asyncio.to_thread(self.folder.read, task_id)
            if hook is None or hook.is_over:
                self._over[task_id] = await asyncio.to_thread(self.folder.written_at, task_id)
            else:
                self._hooks[task_id] = hook

    async def _remove_old(self) -> None:
        oldest, excess = self.clock() - KEPT_SECONDS, len(self._over) - KEPT
        by_age = sorted(self._over.items(), key=lambda each: each[1])
        for number, (task_id, written) in enumerate(by_age):
            if number >= excess and written > oldest:
                return
            await asyncio.to_thread(self.folder.remove, task_id)
            del self._over[task_id]

    async def _follow(self) -> None:
        """Wait for the ends of tasks that are not waited for yet."""
        for hook in list(self._hooks.values()):
            if hook.state != "waiting" or hook.task in self._followed:
                continue
            try:
                handle = await self.tasks.find(SYSTEM, hook.task)
            except TaskUnknownError as error:
                why = {"code": error.code, "message": str(error)}
                await self._ended(hook.task, {"id": hook.task, "state": "unknown", "error": why})
            except PaintMQError as error:
                logger.warning("the webhook of task %s waits: %s", hook.task, error)
            except TimeoutError:
                return  # the broker does not answer: at the next turn
            else:
                self._followed.add(hook.task)
                handle.add_done_callback(self._task_ended)

    def _task_ended(self, handle: AsyncTaskHandle) -> None:
        keeping = asyncio.create_task(self._ended(handle.id, described(handle)))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)

    async def _ended(self, task_id: str, told: dict[str, Any]) -> None:
        hook = self._hooks.get(task_id)
        if hook is None or hook.state != "waiting":
            return
        now = self.clock()
        body = payload(told, self.root_path, datetime.fromtimestamp(now, UTC))
        await self._keep(hook.ended(body, now=now))
        self._followed.discard(task_id)
        self._woken.set()

    def _send_due(self) -> None:
        now = self.clock()
        due = [
            hook
            for hook in self._hooks.values()
            if hook.state == "sending" and hook.next_at <= now and hook.task not in self._sending
        ]
        for hook in sorted(due, key=lambda each: each.next_at):
            if self.places.take(hook.url):
                self._sending[hook.task] = asyncio.create_task(self._deliver(hook))

    async def _deliver(self, hook: Hook) -> None:
        try:
            attempt = await self.send(hook)
            after = hook.after(attempt, now=self.clock(), rng=self.rng)
            if after.state == "failed":
                logger.warning(
                    "the webhook of task %s is given up after %d attempts: %s",
                    hook.task, after.attempts, after.error,
                )  # fmt: skip
            await self._keep(after)
        finally:
            self.places.give_back(hook.url)
            self._sending.pop(hook.task, None)
            self._woken.set()

    async def _keep(self, hook: Hook) -> None:
        try:
            await asyncio.to_thread(self.folder.write, hook)
        except OSError as error:  # it may be sent once more after a restart: that is said of it
            logger.warning("the webhook of task %s cannot be kept: %s", hook.task, error)
        if hook.is_over:
            self._hooks.pop(hook.task, None)
            self._over[hook.task] = self.clock()
        else:
            self._hooks[hook.task] = hook
