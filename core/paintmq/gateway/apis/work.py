"""Running a task for as long as the one who asked for it is there."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from attrs import define, field
from starlette.requests import Request
from starlette.types import Scope

from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.client.result import Progress, Result
from paintmq.client.task import Task
from paintmq.errors import PaintMQError
from paintmq.gateway.apis.faults import ApiError
from paintmq.gateway.callers_tasks import CallersTasks
from paintmq.gateway.delivery import disconnected
from paintmq.gateway.guard import SLOT
from paintmq.gateway.services import HttpServices

T = TypeVar("T")
Watch = Callable[[Progress], Awaitable[None]]
"""Called with a running task's progress, now and after each change."""


class LeftError(Exception):
    """The one who asked has closed the connection: whatever is answered, it is not read."""


@define(eq=False)
class Job:
    """A caller's request that is being worked on: one task after the other."""

    name: str
    tasks: int
    """In all."""
    done: int = 0
    handle: AsyncTaskHandle | None = None
    interrupted: bool = False
    begun: str = ""
    """When, for people."""
    started: float = 0.0
    """When, on the loop's clock."""

    @property
    def progress(self) -> Progress | None:
        return None if self.handle is None else self.handle.progress()

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1."""
        now = self.progress
        part = 0.0 if now is None or self.done >= self.tasks else now.fraction
        return min(1.0, (self.done + part) / max(1, self.tasks))


@define
class Jobs:
    """The jobs of each caller, by the caller's id."""

    _jobs: dict[str, list[Job]] = field(factory=dict[str, list[Job]], init=False)

    def of(self, caller: str) -> list[Job]:
        """Return the caller's jobs, the oldest first."""
        return list(self._jobs.get(caller, ()))

    @contextmanager
    def running(self, caller: str, job: Job) -> Iterator[None]:
        """Hold the job among its caller's while it is worked on."""
        self._jobs.setdefault(caller, []).append(job)
        try:
            yield
        finally:
            self._jobs[caller].remove(job)
            if not self._jobs[caller]:
                del self._jobs[caller]


@define
class Work:
    """What an API hands its tasks to."""

    services: HttpServices

    @property
    def tasks(self) -> CallersTasks:
        return self.services.tasks

    async def made(self, results: Sequence[Result], make: Callable[[], T]) -> T:
        """Return ``make()``, of these results, in a thread, once there is room to decode them."""
        taken = sum(len(each) if isinstance(each, bytes) else each.nbytes
                    for result in results for each in result.outputs.values())  # fmt: skip
        # Once as arrays, once as files.
        async with self.services.room.room_for(2 * taken):
            return await asyncio.to_thread(make)

    async def run(
        self, request: Request, tasks: Iterable[Task], job: Job, watch: Watch | None = None
    ) -> list[Result]:
        """Run the tasks at once and return their results in order.

        If the connection is closed meanwhile, or one of them fails, the others are cancelled.

        Raises:
            PaintMQError: what became of one that did not succeed.
            LeftError: the connection was closed.
            ApiError: the job was interrupted.
        """
        caller = request.state.caller
        handles: list[AsyncTaskHandle] = []
        with ExitStack() as waiting:
            try:
                for task in tasks:
                    handle = await self.tasks.submit(caller, task)
                    handles.append(handle)
                waiting.enter_context(waiting_slot(request.scope))
                return await _while_there(request, _each(handles, job, watch))
            finally:
                for handle in handles:
                    await self._let_go(handle)

    async def _let_go(self, handle: AsyncTaskHandle) -> None:
        """Forget a task that has ended; cancel one that nobody waits for any more."""
        if handle.done():
            await self.tasks.confirm(handle)
        else:
            with suppress(PaintMQError, TimeoutError):
                await self.tasks.client.cancel(handle, timeout=0)

    async def interrupt(self, jobs: Iterable[Job]) -> None:
        """Cancel what runs of these jobs."""
        for job in jobs:
            job.interrupted = True
            if job.handle is not None:
                with suppress(PaintMQError, TimeoutError):
                    await self.tasks.client.cancel(job.handle, timeout=5.0)


async def _each(handles: list[AsyncTaskHandle], job: Job, watch: Watch | None) -> list[Result]:
    results: list[Result] = []
    for handle in handles:
        if job.interrupted:
            raise ApiError(400, "interrupted", "cancelled")
        job.handle = handle
        if watch is not None:
            async for progress in handle.updates():
                await watch(progress)
        results.append(await handle.result())
        job.done += 1
    return results


async def _while_there(request: Request, work: Awaitable[list[Result]]) -> list[Result]:
    working = asyncio.ensure_future(work)
    left = asyncio.create_task(disconnected(request.receive))
    try:
        await asyncio.wait({working, left}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise LeftError
    finally:
        working.cancel()
        left.cancel()
        await asyncio.gather(working, left, return_exceptions=True)


def waiting_slot(scope: Scope) -> AbstractContextManager[object]:
    """Give up the place among the requests that are served while this one only waits.

    Raises:
        RefusedRequestError: too many wait already.
    """
    slot: Any = scope.get(SLOT)
    waiting: AbstractContextManager[object] = nullcontext() if slot is None else slot.waiting()
    return waiting


@define
class PerCaller:
    """What each caller has chosen; of too many, the one who was not seen longest is forgotten."""

    most: int = 1_000
    _values: OrderedDict[str, dict[str, Any]] = field(
        factory=OrderedDict[str, dict[str, Any]], init=False
    )

    def of(self, caller: str) -> dict[str, Any]:
        """Return the caller's own table, to read and to write."""
        values = self._values.setdefault(caller, {})
        self._values.move_to_end(caller)
        while len(self._values) > self.most:
            self._values.popitem(last=False)
        return values
