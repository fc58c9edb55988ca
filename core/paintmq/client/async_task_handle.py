# ruff: noqa: ASYNC109 -- the same signatures as the blocking handle; asyncio.timeout works too
"""Handles of an AsyncClient's tasks: what ``TaskHandle`` has, awaited in any loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from math import isnan
from typing import Any, Self, TypeVar

from paintmq.client.followed_task import run_callback
from paintmq.client.result import Progress, Result
from paintmq.client.session import Session
from paintmq.client.task_handle import CANCEL_SECONDS, TaskView, no_answer
from paintmq.errors import PaintMQError
from paintmq.task import TaskState

T = TypeVar("T")


class AsyncTaskHandle(TaskView):
    """One task that was handed in; its methods are awaited in any loop."""

    async def result(self, timeout: float | None = None) -> Result:
        """Wait for the task's ending, and return the result; see ``TaskHandle.result``."""
        if not self._followed.done:
            self._session.check_process()
            ended = _LoopEvent()
            forget = self._followed.when_done(ended.set)
            try:
                if not await ended.wait(timeout):
                    raise TimeoutError(f"task {self.id} is {self._described()} after {timeout} s")
            finally:
                forget()
        return self._followed.outcome()

    def __await__(self) -> Generator[Any, None, Result]:
        """Let ``await handle`` be ``await handle.result()``."""
        return self.result().__await__()

    async def exception(self, timeout: float | None = None) -> PaintMQError | None:
        """Wait, and return the error of the task; None after success. See ``TaskHandle``."""
        try:
            await self.result(timeout)
        except PaintMQError as error:
            return error
        return None

    async def accepted(self, timeout: float | None = None) -> Self:
        """Wait until the broker has accepted the task; see ``TaskHandle.accepted``."""
        if self._followed.is_undecided:
            async for progress in self.updates(timeout):
                if progress.state is not TaskState.SUBMITTED:
                    break
        self._followed.raise_refusal()
        return self

    async def cancel(self, timeout: float | None = CANCEL_SECONDS) -> str:
        """Cancel the task and return ``cancelled``, ``too_late`` or ``unknown``."""
        if self._followed.done:
            return "cancelled" if self.state is TaskState.CANCELLED else "too_late"
        answer = self._session.cancel(self.id)
        to_what = f"to the cancel of task {self.id}"
        return await wait_for_answer(self._session, answer, timeout, to_what)

    async def updates(self, timeout: float | None = None) -> AsyncIterator[Progress]:
        """Yield the task's progress, now and after each change; see ``TaskHandle.updates``."""
        changed = _LoopEvent()
        stop = self._followed.when_changed(changed.set)
        try:
            while True:
                changed.clear()
                done = self._followed.done
                yield self.progress()
                if done:
                    return
                if not await changed.wait(timeout):
                    raise TimeoutError(
                        f"task {self.id} is {self._described()}: no news in {timeout} s"
                    )
        finally:
            stop()

    def add_done_callback(self, callback: "Callable[[AsyncTaskHandle], object]") -> None:
        """Call ``callback(handle)`` in this loop once the task has ended, or soon if it has.

        What it raises is logged.
        """
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed, and its callbacks with it
                # Not the callback itself: asyncio shows one that raises, and its repr may raise.
                loop.call_soon_threadsafe(run_callback, lambda: callback(self), self.id)

        self._followed.when_done(tell)


class _LoopEvent:
    """An event of the running loop that any thread may set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and its waiters with it
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        self._event.clear()

    async def wait(self, timeout: float | None) -> bool:
        """Wait until it is set; return False if the time is up before."""
        try:
            async with asyncio.timeout(checked_timeout(timeout)):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


def checked_timeout(timeout: float | None) -> float | None:
    """Return the time-out if a loop can wait for it: NaN would put all of its timers out of order.

    Raises:
        ValueError: it is NaN.
    """
    seconds = None if timeout is None else float(timeout)
    if seconds is not None and isnan(seconds):
        raise ValueError("timeout is NaN: use a number of seconds, or None to wait without end")
    return seconds


async def wait_for_answer(
    session: Session, answer: "Future[T]", timeout: float | None, to_what: str
) -> T:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(answer), checked_timeout(timeout))
    except TimeoutError:
        raise TimeoutError(no_answer(session, timeout, to_what)) from None
