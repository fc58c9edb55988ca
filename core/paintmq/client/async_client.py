# ruff: noqa: ASYNC109 -- the same signatures as the blocking client; asyncio.timeout works too
"""The client for asyncio: the same names as ``Client`` and ``TaskHandle``, awaited.

The session's thread does the talking; what it learns is handed to the loop that asked. One client
may serve several loops.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from paintmq.client.async_task_handle import AsyncTaskHandle, checked_timeout, wait_for_answer
from paintmq.client.client import DEFAULT_ENDPOINT
from paintmq.client.event_reader import EventReader
from paintmq.client.journal import journal_for
from paintmq.client.reachability import none_answers
from paintmq.client.result import Result
from paintmq.client.session import Session
from paintmq.client.task import Task
from paintmq.client.task_handle import CANCEL_SECONDS
from paintmq.client.task_verbs import (
    ASK_SECONDS,
    is_enough_ahead,
    no_room,
    none_ended,
    refused_task,
)
from paintmq.client.window import Place, WindowLimits
from paintmq.errors import NoRoomError, PaintMQError, RefusedError
from paintmq.statistics import BrokerStatistics
from paintmq.task import Json

if TYPE_CHECKING:
    import zmq

T = TypeVar("T")


class AsyncClient:
    """A connection to a broker that is renewed by itself, for asyncio; see ``Client``.

    ``relays`` is for programs that hand in tasks for others, as ``paintmq http`` does: what the
    broker has accepted is let go of here, inputs and all, and a result is kept by the broker as
    long as one that was never fetched, until ``confirm`` says that it was passed on.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        context: "zmq.Context[zmq.Socket[bytes]] | None" = None,
        name: str = "",
        key: Path | str | None = None,
        max_tasks: int = WindowLimits().tasks,
        max_bytes: int = WindowLimits().bytes,
        durable: bool | Path | str = False,
        relays: bool = False,
    ) -> None:
        self._session = Session(
            endpoint,
            context=context,
            name=name,
            key=key,
            window=WindowLimits(tasks=max_tasks, bytes=max_bytes),
            journal=journal_for(durable),
            relays=relays,
        )

    @property
    def endpoint(self) -> str:
        return self._session.endpoint

    @property
    def trouble(self) -> str:
        """What is wrong with the connection, for people; empty while the broker answers."""
        return self._session.trouble

    @property
    def has_failed(self) -> bool:
        """Whether this client has ended by itself: nothing will be answered any more."""
        return self._session.has_failed

    @property
    def alarms(self) -> int:
        """How often the broker was found to have forgotten what it had promised."""
        return self._session.alarms

    @property
    def recovered(self) -> tuple[AsyncTaskHandle, ...]:
        """Tasks of an earlier client that this one took over; see ``Client.recovered``."""
        self._session.start()
        return tuple(AsyncTaskHandle(self._session, task) for task in self._session.recovered)

    async def connect(self, timeout: float | None = 10.0) -> None:
        """Wait until the broker has answered; see ``Client.connect``."""
        if not await asyncio.to_thread(self._session.wait_until_connected, timeout):
            key = self._session.key
            raise TimeoutError(await asyncio.to_thread(none_answers, self.endpoint, timeout, key))

    async def submit(
        self, task: Task, *, queue: str = "", timeout: float | None = None, patient: bool = False
    ) -> AsyncTaskHandle:
        """Hand the task in; waits for room, not for the broker. See ``Client.submit``."""
        # Reading and hashing large inputs would hold up the loop.
        prepared = await asyncio.to_thread(task.prepare, queue=queue)
        place = self._session.window.place(prepared.request.input_bytes)
        try:
            await self._wait_for_room(place, timeout)
            submit = partial(self._session.submit, prepared, place, task, patient=patient)
            # A durable client's tasks reach the disk before they are sent: not in the loop.
            followed = await asyncio.to_thread(submit) if self._session.is_durable else submit()
        except BaseException:  # cancelled or timed out, perhaps just as room was made
            place.give_back()
            raise
        return AsyncTaskHandle(self._session, followed)

    async def fetch(self, task_id: str) -> AsyncTaskHandle:
        """Return a handle of a task that was submitted before; see ``Client.fetch``."""
        return AsyncTaskHandle(self._session, self._session.fetch(task_id))

    async def confirm(self, task: AsyncTaskHandle | str) -> None:
        """Tell the broker that the task's ending was passed on; needed with ``relays`` alone."""
        self._session.confirm(task.id if isinstance(task, AsyncTaskHandle) else task)

    async def cancel(
        self, task: AsyncTaskHandle | str, timeout: float | None = CANCEL_SECONDS
    ) -> str:
        """Cancel a task, given by handle or id."""
        if isinstance(task, AsyncTaskHandle):
            return await task.cancel(timeout)
        answer = self._session.cancel(task)
        return await wait_for_answer(
            self._session, answer, timeout, f"to the cancel of task {task}"
        )

    @overload
    def map(
        self,
        tasks: Iterable[Task] | AsyncIterable[Task],
        *,
        ahead: int = ...,
        timeout: float | None = ...,
        return_exceptions: Literal[False] = ...,
    ) -> AsyncIterator[Result]: ...
    @overload
    def map(
        self,
        tasks: Iterable[Task] | AsyncIterable[Task],
        *,
        ahead: int = ...,
        timeout: float | None = ...,
        return_exceptions: bool,
    ) -> AsyncIterator[Result | PaintMQError]: ...
    async def map(
        self,
        tasks: Iterable[Task] | AsyncIterable[Task],
        *,
        ahead: int = 256,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> AsyncIterator[Result | PaintMQError]:
        """Run the tasks and yield their results in the order of the tasks; see ``Client.map``."""
        waiting: deque[AsyncTaskHandle] = deque()
        most_bytes = self._session.window.limits.bytes
        try:
            async for task in _each(tasks):
                waiting.append(await self._submitted(task, even_if_refused=return_exceptions))
                while waiting and is_enough_ahead(waiting, ahead, most_bytes):
                    yield await _outcome(waiting.popleft(), timeout, as_value=return_exceptions)
            while waiting:
                yield await _outcome(waiting.popleft(), timeout, as_value=return_exceptions)
        finally:
            for handle in waiting:
                self._session.cancel_quietly(handle.id)

    async def as_completed(
        self,
        handles: Iterable[AsyncTaskHandle | Task] | AsyncIterable[AsyncTaskHandle | Task],
        *,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> AsyncIterator[AsyncTaskHandle]:
        """Yield the handles as their tasks end; see ``Client.as_completed``."""
        ended: asyncio.Queue[AsyncTaskHandle] = asyncio.Queue()
        pending = 0
        async for each in _each(handles):
            handle = each
            if isinstance(handle, Task):
                handle = await self._submitted(handle, even_if_refused=return_exceptions)
            handle.add_done_callback(ended.put_nowait)
            pending += 1
            while not ended.empty():
                pending -= 1
                yield ended.get_nowait()
        while pending:
            try:
                async with asyncio.timeout(checked_timeout(timeout)):
                    handle = await ended.get()
            except TimeoutError:
                raise TimeoutError(none_ended(self._session, pending, timeout)) from None
            pending -= 1
            yield handle

    async def statistics(self) -> BrokerStatistics:
        """Return the statistics of the broker and of every queue."""
        from cattrs import structure  # it takes longer to import than all of a client

        return structure(await self.ask("statistics"), BrokerStatistics)

    def events(
        self,
        *,
        queue: str = "",
        model: str = "",
        tenant: str = "",
        task: str = "",
        after: int | None = None,
        follow: bool = True,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens to tasks, workers and queues; see ``Client.events``."""
        filters: dict[str, Json] = {"queue": queue, "model": model, "tenant": tenant, "task": task}
        return self._followed_numbers("events", filters, after, follow=follow)

    def logs(
        self,
        *,
        worker: str = "",
        task: str = "",
        after: int | None = None,
        follow: bool = True,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what models print and log; see ``Client.logs``."""
        filters: dict[str, Json] = {"worker": worker, "task": task}
        return self._followed_numbers("logs", filters, after, follow=follow)

    async def _followed_numbers(
        self, subject: str, filters: Mapping[str, Json], after: int | None, *, follow: bool
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what the broker numbers and keeps of a subject: its events, or lines of models."""
        reader = EventReader(filters, after if follow or after is not None else 0)
        while True:
            answer: Any = await self.ask(subject, timeout=ASK_SECONDS, **reader.question())
            for each in reader.take(answer):
                yield each
            if not follow and not answer["more"]:
                return
            await asyncio.sleep(reader.pause)

    async def ask(
        self, subject: str, *, timeout: float | None = ASK_SECONDS, **arguments: Json
    ) -> Json:
        """Ask the broker one of its subjects; see ``Client.ask``."""
        answer = self._session.ask(subject, arguments)
        to_what = f"to {subject!r} at {self.endpoint}"
        return await wait_for_answer(self._session, answer, timeout, to_what)

    async def close(self) -> None:
        """Say goodbye. Accepted tasks go on; handles that wait get a ManagerStoppedError."""
        await asyncio.to_thread(self._session.close)

    async def __aenter__(self) -> Self:
        self._session.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _submitted(self, task: Task, *, even_if_refused: bool) -> AsyncTaskHandle:
        try:
            return await self.submit(task, patient=True)
        except RefusedError as error:
            if not even_if_refused:
                raise
            return AsyncTaskHandle(self._session, refused_task(task, error))

    async def _wait_for_room(self, place: Place, timeout: float | None) -> None:
        self._session.start()
        granted = place.ask_for()
        if granted is None:
            return
        try:
            await asyncio.wait_for(asyncio.wrap_future(granted), checked_timeout(timeout))
        except TimeoutError:
            raise NoRoomError(no_room(self._session, timeout or 0.0)) from None


async def _outcome(
    handle: AsyncTaskHandle, timeout: float | None, *, as_value: bool
) -> "Result | PaintMQError":
    try:
        return await handle.result(timeout)
    except PaintMQError as error:
        if not as_value:
            raise
        return error


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
