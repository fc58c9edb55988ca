"""Client and AsyncClient against a broker that does what it is told: one contract for both."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest

from paintmq import AsyncClient, Client, Task, TaskState, TaskType
from paintmq.client.async_client import AsyncTaskHandle
from paintmq.client.task_handle import TaskHandle
from paintmq.errors import (
    InvalidTaskError,
    ManagerStoppedError,
    RejectedError,
    TaskCancelledError,
    TaskDeadError,
    TaskExpiredError,
    TaskFailedError,
    TaskNotCompletedError,
    TaskRejectedError,
    TaskUnknownError,
)
from paintmq.image import payload_of_array
from paintmq.task import TaskError
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Ask,
    Cancel,
    CancelAnswered,
    ClientGoodbye,
    ClientHello,
    Finished,
    Progressed,
    Query,
    Rejected,
    ResultReceived,
    Submit,
    UnknownTask,
)

if TYPE_CHECKING:
    from tests.core.client.conftest import ScriptedBroker

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


def succeeds(broker: "ScriptedBroker", task_id: Any) -> tuple[Finished, tuple[Any, ...]]:
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


class AnyHandle:
    """A handle of either kind, called without await."""

    def __init__(self, run: Callable[[Any], Any], handle: TaskHandle | AsyncTaskHandle) -> None:
        self.run, self.handle = run, handle

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.handle, name)
        if name not in ("result", "cancel", "updates", "add_done_callback"):
            return value
        return lambda *args, **kwargs: self.run(value, *args, **kwargs)


class AnyClient:
    """A client of either kind, called without await."""

    def __init__(self, run: Callable[..., Any], client: Client | AsyncClient) -> None:
        self.run, self.client = run, client

    def submit(self, task: Task, **kwargs: Any) -> AnyHandle:
        return AnyHandle(self.run, self.run(self.client.submit, task, **kwargs))

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


@pytest.fixture(params=["blocking", "asyncio"])
def make_client(
    request: pytest.FixtureRequest, broker: "ScriptedBroker"
) -> Iterator[Callable[..., AnyClient]]:
    clients: list[AnyClient] = []
    loop = LoopThread() if request.param == "asyncio" else None

    def make(**settings: Any) -> AnyClient:
        if loop is None:
            clients.append(AnyClient(call, Client(broker.endpoint, **settings)))
        else:
            clients.append(AnyClient(loop.call, AsyncClient(broker.endpoint, **settings)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
    if loop is not None:
        loop.stop()


@pytest.fixture
def client(make_client: Callable[..., AnyClient]) -> AnyClient:
    return make_client()


@pytest.fixture
def working(broker: "ScriptedBroker") -> "ScriptedBroker":
    """A broker that accepts every task and finishes it at once."""
    broker.when(Submit, lambda m: [accepts(m), succeeds(broker, m.task.id)])
    return broker


# ---- results -----------------------------------------------------------------------------------


def test_a_result_tells_what_came_of_the_task(client: AnyClient, working: "ScriptedBroker") -> None:
    task = make_task(7)

    result = client.submit(task).result(30)

    assert result.task_id == task.id
    np.testing.assert_array_equal(result.image, np.full((4, 5, 3), 248, np.uint8))
    assert (result.queue, result.worker, result.attempts) == ("cpu-light", "host/cpu-0", 1)
    assert (result.waited, result.ran) == (0.5, 0.25)
    assert working.wait_for(ResultReceived) == [ResultReceived(task.id)]


def test_a_handle_is_true_and_knows_its_task(client: AnyClient, working: "ScriptedBroker") -> None:
    task = make_task()
    handle = client.submit(task)
    handle.result(30)

    assert bool(handle.handle) is True
    assert (handle.id, handle.task, handle.state) == (task.id, task, TaskState.SUCCEEDED)
    assert handle.done()
    assert handle.queue == "cpu-light"
    assert handle.progress().fraction == 1.0
    assert "succeeded in cpu-light" in repr(handle.handle)


def test_the_named_queue_travels_with_the_task(
    client: AnyClient, working: "ScriptedBroker"
) -> None:
    client.submit(make_task(), queue="serverless").result(30)

    (submit,) = working.of(Submit)
    assert submit.task.queue == "serverless"


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (TaskState.FAILED, TaskFailedError),
        (TaskState.CANCELLED, TaskCancelledError),
        (TaskState.EXPIRED, TaskExpiredError),
        (TaskState.DEAD, TaskDeadError),
    ],
)
def test_another_ending_than_success_is_raised_with_code_and_words(
    client: AnyClient,
    broker: "ScriptedBroker",
    state: TaskState,
    error: type[TaskNotCompletedError],
) -> None:
    broker.when(Submit, lambda m: [ends(m.task.id, state, "model_error", "out of paint")])
    handle = client.submit(make_task())

    with pytest.raises(error, match="out of paint") as caught:
        handle.result(30)

    assert (caught.value.task_id, caught.value.state) == (handle.id, state)
    assert caught.value.code == "model_error"
    assert handle.state is state


def test_a_refusal_is_raised_with_the_time_to_wait(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    broker.when(
        Submit,
        lambda m: [Rejected(task_id=m.task.id, code="queue_full", reason="full", retry_after=7.0)],
    )

    with pytest.raises(TaskRejectedError, match="full") as caught:
        client.submit(make_task()).result(30)

    assert (caught.value.code, caught.value.retry_after) == ("queue_full", 7.0)


def test_a_result_is_waited_for_no_longer_than_asked(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    broker.when(Submit, lambda m: [accepts(m, "no worker has model lama")])
    handle = client.submit(make_task())
    broker.wait_for(Submit)

    with pytest.raises(TimeoutError, match=handle.id):
        handle.result(0.01)

    assert not handle.done()


def test_a_damaged_result_is_a_failure(client: AnyClient, broker: "ScriptedBroker") -> None:
    """I20: the way back."""

    def damaged(message: Any) -> list[Any]:
        finished, (data,) = succeeds(broker, message.task.id)
        return [(finished, (b"\1" + bytes(data)[1:],))]

    broker.when(Submit, damaged)

    with pytest.raises(TaskFailedError, match="damaged") as caught:
        client.submit(make_task()).result(30)

    assert caught.value.code == "corrupt_result"


def test_large_images_come_back_whole(client: AnyClient, broker: "ScriptedBroker") -> None:
    image = np.random.default_rng(1).integers(0, 256, (2000, 2000, 3), np.uint8)

    def mirror(message: Any) -> list[Any]:
        info, data = payload_of_array("image", image[::-1])
        assert broker.payloads[message.task.id][0] == image.tobytes()
        return [
            (
                Finished(task_id=message.task.id, state=TaskState.SUCCEEDED, outputs=(info,)),
                (data,),
            )
        ]

    broker.when(Submit, mirror)

    result = client.submit(make_task(inputs={"image": image})).result(30)

    np.testing.assert_array_equal(result.image, image[::-1])


# ---- progress ----------------------------------------------------------------------------------


def test_why_a_task_waits_is_told_by_its_handle(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    broker.when(Submit, lambda m: [accepts(m, "no worker has model lama")])
    handle = client.submit(make_task())
    updates = handle.updates(30)
    while next(updates).state is not TaskState.QUEUED:
        pass

    assert handle.waiting_for == "no worker has model lama"
    assert handle.queue == "cpu-light"


def test_updates_show_the_way_to_the_end(client: AnyClient, broker: "ScriptedBroker") -> None:
    preview = np.full((2, 2, 3), 9, np.uint8)
    info, data = payload_of_array("preview", preview)
    handle = client.submit(make_task())
    broker.wait_for(Submit)
    updates = handle.updates(30)
    seen = [next(updates)]

    def until(state: TaskState, step: int = 0) -> Any:
        while (update := next(updates)).state is not state or update.step != step:
            pass
        seen.append(update)
        return update

    for step in (1, 2):
        broker.say(
            Progressed(
                task_id=handle.id,
                state=TaskState.RUNNING,
                step=step,
                total=4,
                worker="host/cpu-0",
                attempt=1,
                preview=(info,),
            ),
            [data],
        )
        update = until(TaskState.RUNNING, step)
        assert (update.fraction, update.worker, update.attempt) == (step / 4, "host/cpu-0", 1)
        np.testing.assert_array_equal(update.preview, preview)
    broker.say(ends(handle.id, TaskState.CANCELLED))
    until(TaskState.CANCELLED, 2)

    assert next(updates, None) is None
    assert seen[0].state is TaskState.SUBMITTED


def test_updates_of_a_silent_task_end_when_the_time_is_up(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    handle = client.submit(make_task())

    with pytest.raises(TimeoutError, match="no news"):
        list(handle.updates(0.05))


def test_callbacks_are_called_with_the_handle_once_it_is_done(
    client: AnyClient, working: "ScriptedBroker"
) -> None:
    called = threading.Semaphore(0)
    handles: list[Any] = []

    def remember(handle: Any) -> None:
        handles.append((handle, handle.done()))
        called.release()

    handle = client.submit(make_task())
    handle.add_done_callback(remember)
    handle.result(30)
    handle.add_done_callback(remember)

    assert called.acquire(timeout=30)
    assert called.acquire(timeout=30)
    assert handles == [(handle.handle, True)] * 2


# ---- cancelling --------------------------------------------------------------------------------


def test_a_cancel_is_answered_by_the_broker(client: AnyClient, broker: "ScriptedBroker") -> None:
    broker.when(Submit, lambda m: [accepts(m)])
    broker.when(Cancel, lambda m: [CancelAnswered(m.task_id, "too_late")])

    assert client.submit(make_task()).cancel(30) == "too_late"


def test_a_cancelled_task_is_told_so_without_asking(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    broker.when(Submit, lambda m: [accepts(m)])
    broker.when(Cancel, lambda m: [ends(m.task_id, TaskState.CANCELLED)])
    handle = client.submit(make_task())

    assert handle.cancel(30) == "cancelled"
    assert handle.cancel(30) == "cancelled"
    assert len(broker.of(Cancel)) == 1


def test_what_is_done_is_too_late_to_cancel(client: AnyClient, working: "ScriptedBroker") -> None:
    handle = client.submit(make_task())
    handle.result(30)

    assert client.cancel(handle) == "too_late"
    assert working.of(Cancel) == []


def test_a_task_is_cancelled_by_its_id(client: AnyClient, broker: "ScriptedBroker") -> None:
    broker.when(Cancel, lambda m: [CancelAnswered(m.task_id, "unknown")])

    assert client.cancel("a" * 32) == "unknown"


# ---- fetching ----------------------------------------------------------------------------------


def test_a_result_is_fetched_by_id(
    make_client: Callable[..., AnyClient], working: "ScriptedBroker"
) -> None:
    task = make_task(3)
    make_client().submit(task).result(30)
    working.when(Query, lambda m: [succeeds(working, id_) for id_ in m.task_ids])

    handle = make_client().fetch(task.id)

    assert handle.result(30).image[0, 0, 0] == 252
    assert handle.task is None


def test_fetching_what_nobody_knows_says_so(client: AnyClient, broker: "ScriptedBroker") -> None:
    broker.when(Query, lambda m: [UnknownTask(id_) for id_ in m.task_ids])

    with pytest.raises(TaskUnknownError, match="b" * 32):
        client.fetch("b" * 32).result(30)


# ---- many --------------------------------------------------------------------------------------


def test_map_yields_results_in_the_order_of_the_tasks(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    held: list[Any] = []

    def answer_in_pairs_backwards(message: Any) -> list[Any]:
        held.append(message.task.id)
        if len(held) % 2:
            return [accepts(message)]
        return [accepts(message), succeeds(broker, held[-1]), succeeds(broker, held[-2])]

    broker.when(Submit, answer_in_pairs_backwards)

    results = list(client.map((make_task(n) for n in range(20)), ahead=2, timeout=30))

    assert [int(255 - result.image[0, 0, 0]) for result in results] == list(range(20))


def test_map_takes_no_more_tasks_than_it_may_be_ahead(
    client: AnyClient, working: "ScriptedBroker"
) -> None:
    taken = []

    def endless() -> Iterator[Task]:
        n = 0
        while True:
            taken.append(n)
            yield make_task(n % 256)
            n += 1

    results = client.map(endless(), ahead=3)
    for n in range(10):
        next(results)

        assert len(taken) <= n + 4
    results.close()


def test_map_waits_out_a_full_queue(client: AnyClient, broker: "ScriptedBroker") -> None:
    refused: list[Any] = []

    def refuse_once(message: Any) -> list[Any]:
        if message.task.id in refused:
            return [succeeds(broker, message.task.id)]
        refused.append(message.task.id)
        full = Rejected(task_id=message.task.id, code="queue_full", reason="", retry_after=0.01)
        return [full]

    broker.when(Submit, refuse_once)

    assert len(list(client.map([make_task()], timeout=30))) == 1


def test_leaving_a_map_cancels_what_it_had_taken(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    def only_the_first(message: Any) -> list[Any]:
        first = len(broker.of(Submit)) == 1
        return [accepts(message), *([succeeds(broker, message.task.id)] if first else [])]

    broker.when(Submit, only_the_first)
    broker.when(Cancel, lambda m: [ends(m.task_id, TaskState.CANCELLED)])
    tasks = [make_task(n) for n in range(3)]
    results = client.map(iter(tasks), ahead=3, timeout=30)
    next(results)
    results.close()

    cancelled = {message.task_id for message in broker.wait_for(Cancel, broker_holds(broker))}
    assert cancelled <= {task.id for task in tasks[1:]}


def broker_holds(broker: "ScriptedBroker") -> int:
    """How many tasks were submitted beside the first."""
    return len(broker.of(Submit)) - 1


def test_as_completed_yields_what_ends_first(client: AnyClient, broker: "ScriptedBroker") -> None:
    broker.when(Submit, lambda m: [accepts(m)])
    handles = [client.submit(make_task(n)).handle for n in range(3)]
    broker.wait_for(Submit, 3)
    completed = client.as_completed(handles, timeout=30)
    order = []
    for n in (2, 0, 1):
        broker.say(ends(handles[n].id, TaskState.EXPIRED))
        order.append(next(completed))

    assert order == [handles[2], handles[0], handles[1]]
    assert next(completed, None) is None


def test_as_completed_gives_up_when_nothing_ends(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    handle = client.submit(make_task()).handle

    with pytest.raises(TimeoutError, match="1 tasks have not ended"):
        list(client.as_completed([handle], timeout=0.05))


def test_submit_waits_for_room_and_says_when_there_is_none(
    make_client: Callable[..., AnyClient], broker: "ScriptedBroker"
) -> None:
    client = make_client(max_tasks=2)
    first = client.submit(make_task())
    client.submit(make_task())

    with pytest.raises(TimeoutError, match=r"no room for another task.*2 tasks"):
        client.submit(make_task(), timeout=0.05)

    broker.wait_for(Submit, 2)
    broker.say(ends(first.id, TaskState.EXPIRED))
    client.submit(make_task(), timeout=30)
    assert len(broker.wait_for(Submit, 3)) == 3


def test_the_bytes_under_way_are_bounded_too(
    make_client: Callable[..., AnyClient], broker: "ScriptedBroker"
) -> None:
    client = make_client(max_bytes=100)
    client.submit(make_task())  # 60 bytes

    with pytest.raises(TimeoutError, match="60 bytes are under way"):
        client.submit(make_task(), timeout=0.05)


def test_one_task_submitted_twice_is_one_task(client: AnyClient, broker: "ScriptedBroker") -> None:
    task = make_task()
    first, second = client.submit(task), client.submit(task)
    broker.wait_for(Submit)
    broker.say(*succeeds(broker, task.id))

    assert first.result(30) is second.result(30)
    assert len(broker.of(Submit)) == 1


def test_two_tasks_with_one_key_are_refused(client: AnyClient, broker: "ScriptedBroker") -> None:
    client.submit(make_task(1, idempotency_key="k"))

    with pytest.raises(InvalidTaskError, match="under way with other contents"):
        client.submit(make_task(2, idempotency_key="k"))


# ---- questions, connection ---------------------------------------------------------------------


def test_the_broker_is_asked_with_arguments(client: AnyClient, broker: "ScriptedBroker") -> None:
    broker.when(
        Ask,
        lambda m: [Answer(request_id=m.request_id, value={m.subject: dict(m.arguments)})],
    )

    assert client.ask("why", task_id="x") == {"why": {"task_id": "x"}}


def test_what_the_broker_cannot_answer_is_raised(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    broker.when(Ask, lambda m: [Answer(request_id=m.request_id, error="no such task")])

    with pytest.raises(RejectedError, match="no such task"):
        client.ask("why", task_id="x")


def test_a_question_without_an_answer_times_out(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    with pytest.raises(TimeoutError, match="'version'"):
        client.ask("version", timeout=0.05)


def test_connecting_waits_for_the_broker(client: AnyClient, broker: "ScriptedBroker") -> None:
    client.connect(30)

    assert len(broker.of(ClientHello)) == 1


def test_a_broker_that_does_not_answer_is_named(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    broker.when(ClientHello, lambda _: [])

    with pytest.raises(TimeoutError, match=broker.endpoint):
        client.connect(0.05)


def test_closing_says_goodbye_and_ends_what_waits(
    client: AnyClient, broker: "ScriptedBroker"
) -> None:
    handle = client.submit(make_task())
    broker.wait_for(Submit)
    client.close()

    with pytest.raises(ManagerStoppedError, match="closed before the task ended"):
        handle.result(30)
    assert broker.wait_for(ClientGoodbye)


def test_a_closed_client_stays_closed(client: AnyClient, broker: "ScriptedBroker") -> None:
    client.close()
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.submit(make_task())
