"""Client and AsyncClient as one: what holds for either is tested once, without await."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import numpy as np

from paintmq import AsyncClient, Client, QueueManager, Task, TaskState, TaskType
from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.client.task_handle import TaskHandle
from paintmq.image import payload_of_array
from paintmq.task import TaskError
from paintmq.wire.messages import (
    Accepted,
    Finished,
)
from tests.harness.client_port import ScriptedBroker

T = TypeVar("T")


def make_task(value: int = 0, **changes: Any) -> Task:
    image = np.full((4, 5, 3), value, np.uint8)
    arguments: dict[str, Any] = {
        "task_type": TaskType.INPAINT,
        "config": {"model": "opencv"},
        "inputs": {"image": image},
    }
    return Task(**(arguments | changes))


def accepts(message: Any, waiting_for: str = "") -> Accepted:
    return Accepted(
        task_id=message.task.id, queue="cpu-light", durable_sequence=1, waiting_for=waiting_for
    )


def succeeds(broker: ScriptedBroker, task_id: Any) -> tuple[Finished, tuple[Any, ...]]:
    """Give the task's own image back, inverted."""
    image = np.frombuffer(broker.payloads[task_id][0], np.uint8).reshape(4, 5, 3)
    info, data = payload_of_array("image", 255 - image)
    finished = Finished(
        task_id=task_id,
        state=TaskState.SUCCEEDED,
        outputs=(info,),
        queue="cpu-light",
        worker="host/cpu-0",
        attempts=1,
        waited=0.5,
        ran=0.25,
    )
    return finished, (data,)


def ends(task_id: Any, state: TaskState, code: str = "x", message: str = "why") -> Finished:
    return Finished(task_id=task_id, state=state, error=TaskError(code=code, message=message))


_AWAITED = ("result", "cancel", "updates", "add_done_callback", "accepted", "exception")


class AnyHandle:
    """A handle of either kind, called without await."""

    def __init__(self, run: Callable[[Any], Any], handle: TaskHandle | AsyncTaskHandle) -> None:
        self.run, self.handle = run, handle

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.handle, name)
        if name not in _AWAITED:
            return value
        return lambda *args, **kwargs: self.run(value, *args, **kwargs)


class AnyClient:
    """A client of any kind, called without await."""

    def __init__(
        self, run: Callable[..., Any], client: Client | AsyncClient | QueueManager
    ) -> None:
        self.run, self.client = run, client

    def submit(self, task: Task, **kwargs: Any) -> AnyHandle:
        return AnyHandle(self.run, self.run(self.client.submit, task, **kwargs))

    def wrap(self, handle: TaskHandle | AsyncTaskHandle) -> AnyHandle:
        return AnyHandle(self.run, handle)

    def fetch(self, task_id: str) -> AnyHandle:
        return AnyHandle(self.run, self.run(self.client.fetch, task_id))

    def cancel(self, task: AnyHandle | str) -> str:
        given = task.handle if isinstance(task, AnyHandle) else task
        answer: str = self.run(self.client.cancel, given)
        return answer

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.client, name)
        return (lambda *a, **k: self.run(value, *a, **k)) if callable(value) else value


def call(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return function(*args, **kwargs)


class LoopThread:
    """An asyncio loop in a thread; coroutines and asynchronous iterators are run in it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="asyncio")
        self.thread.start()

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async def begin() -> Any:
            value = function(*args, **kwargs)
            return await value if isinstance(value, Coroutine) else value

        value = self.run(begin())
        return self.iterate(value) if isinstance(value, AsyncIterator) else value

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        try:
            while True:
                try:
                    yield self.run(anext(items))
                except StopAsyncIteration:
                    return
        finally:
            self.run(items.aclose())  # type: ignore[attr-defined]  # they are all generators

    def run(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(30)

    def stop(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
