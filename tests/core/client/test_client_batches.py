"""Many tasks at once, through either client: order, bounds, full queues."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cattrs import unstructure
from tests.harness.any_client import AnyClient, accepts, ends, make_task, succeeds
from tests.harness.client_port import ScriptedBroker

from paintmq import Result, Task, TaskState
from paintmq.errors import (
    InvalidInputError,
    InvalidTaskError,
    TaskFailedError,
    TaskRejectedError,
)
from paintmq.statistics import BrokerStatistics, QueueStatistics
from paintmq.wire.messages import (
    Answer,
    Ask,
    Cancel,
    Rejected,
    Submit,
)


def test_map_yields_results_in_the_order_of_the_tasks(
    client: AnyClient, broker: ScriptedBroker
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
    client: AnyClient, working: ScriptedBroker
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


def test_map_waits_out_a_full_queue(client: AnyClient, broker: ScriptedBroker) -> None:
    refused: list[Any] = []

    def refuse_once(message: Any) -> list[Any]:
        if message.task.id in refused:
            return [succeeds(broker, message.task.id)]
        refused.append(message.task.id)
        full = Rejected(task_id=message.task.id, code="queue_full", reason="", retry_after=0.01)
        return [full]

    broker.when(Submit, refuse_once)

    assert len(list(client.map([make_task()], timeout=30))) == 1


def test_leaving_a_map_cancels_what_it_had_taken(client: AnyClient, broker: ScriptedBroker) -> None:
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


def broker_holds(broker: ScriptedBroker) -> int:
    """How many tasks were submitted beside the first."""
    return len(broker.of(Submit)) - 1


def test_as_completed_yields_what_ends_first(client: AnyClient, broker: ScriptedBroker) -> None:
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


def test_as_completed_gives_up_when_nothing_ends(client: AnyClient, broker: ScriptedBroker) -> None:
    handle = client.submit(make_task()).handle

    with pytest.raises(TimeoutError, match="1 tasks have not ended"):
        list(client.as_completed([handle], timeout=0.05))


def test_submit_waits_for_room_and_says_when_there_is_none(
    make_client: Callable[..., AnyClient], broker: ScriptedBroker
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
    make_client: Callable[..., AnyClient], broker: ScriptedBroker
) -> None:
    client = make_client(max_bytes=100)
    client.submit(make_task())  # 60 bytes

    with pytest.raises(TimeoutError, match="60 bytes are under way"):
        client.submit(make_task(), timeout=0.05)


def test_one_task_submitted_twice_is_one_task(client: AnyClient, broker: ScriptedBroker) -> None:
    task = make_task()
    first, second = client.submit(task), client.submit(task)
    broker.wait_for(Submit)
    broker.say(*succeeds(broker, task.id))

    assert first.result(30) is second.result(30)
    assert len(broker.of(Submit)) == 1


def test_two_tasks_with_one_key_are_refused(client: AnyClient, broker: ScriptedBroker) -> None:
    client.submit(make_task(1, idempotency_key="k"))

    with pytest.raises(InvalidTaskError, match="under way with other contents"):
        client.submit(make_task(2, idempotency_key="k"))


# ---- a batch is many jobs ------------------------------------------------------------------------


def bad_and_good(working: ScriptedBroker, gone: str) -> list[Task]:
    """Return five tasks: one fails, one is refused, the file of one is gone when it is sent."""
    fails, refused = make_task(config={"model": "fails"}), make_task(config={"model": "refused"})

    def answer(message: Any) -> list[Any]:
        task = message.task
        if task.id == fails.id:
            return [accepts(message), ends(task.id, TaskState.FAILED, "model_error", "no")]
        if task.id == refused.id:
            return [Rejected(task_id=task.id, code="unknown_model", reason="no such model")]
        return [accepts(message), succeeds(working, task.id)]

    working.when(Submit, answer)
    return [make_task(1), fails, make_task(inputs={"image": gone}), refused, make_task(2)]


@pytest.fixture
def gone(tmp_path: Path) -> str:
    """A file that is there when its task is made, and not when it is sent."""
    (tmp_path / "gone.png").write_bytes(bytes(60))
    return str(tmp_path / "gone.png")


def test_map_may_yield_errors_in_place_of_results_and_go_on(
    client: AnyClient, working: ScriptedBroker, gone: str
) -> None:
    tasks = bad_and_good(working, gone)
    Path(gone).unlink()

    outcomes = list(client.map(tasks, return_exceptions=True, timeout=30))

    assert [type(each) for each in outcomes] == [
        Result,
        TaskFailedError,
        TaskRejectedError,
        TaskRejectedError,
        Result,
    ]
    assert [getattr(each, "code", "") for each in outcomes] == [
        "",
        "model_error",
        "invalid_input",
        "unknown_model",
        "",
    ]
    assert "there is no file" in str(outcomes[2])
    assert isinstance(outcomes[2].__cause__, InvalidInputError)


def test_without_being_told_to_map_raises_the_first_error(
    client: AnyClient, working: ScriptedBroker, gone: str
) -> None:
    with pytest.raises(TaskFailedError):
        list(client.map(bad_and_good(working, gone), timeout=30))


def test_as_completed_submits_tasks_and_yields_what_could_not_be_submitted_too(
    client: AnyClient, working: ScriptedBroker, gone: str
) -> None:
    tasks = bad_and_good(working, gone)
    Path(gone).unlink()

    ended = list(client.as_completed(tasks, return_exceptions=True, timeout=30))

    assert {handle.task for handle in ended} == set(tasks)
    errors = {handle.task: handle.exception() for handle in (client.wrap(h) for h in ended)}
    assert [type(errors[task]) for task in tasks] == [
        type(None),
        TaskFailedError,
        TaskRejectedError,
        TaskRejectedError,
        type(None),
    ]


def test_as_completed_raises_for_a_task_that_cannot_be_submitted(
    client: AnyClient, working: ScriptedBroker, gone: str
) -> None:
    tasks = bad_and_good(working, gone)
    Path(gone).unlink()

    with pytest.raises(InvalidInputError, match="there is no file"):
        list(client.as_completed(tasks, timeout=30))


def test_statistics_come_as_values(client: AnyClient, broker: ScriptedBroker) -> None:
    known = BrokerStatistics(queues={"a": QueueStatistics(name="a", port=1, waiting=3)})
    broker.when(Ask, lambda m: [Answer(request_id=m.request_id, value=unstructure(known))])

    assert client.statistics() == known


def test_acceptance_can_be_waited_for(client: AnyClient, broker: ScriptedBroker) -> None:
    """Regression: a program said 202 for what the broker refused a moment later."""
    broker.when(Submit, lambda m: [accepts(m)])
    handle = client.submit(make_task())
    handle.accepted(30)
    assert handle.state is TaskState.QUEUED
    handle.accepted(0)

    broker.when(Submit, lambda m: [Rejected(task_id=m.task.id, code="queue_full", reason="full")])
    with pytest.raises(TaskRejectedError, match="full"):
        client.submit(make_task()).accepted(30)

    broker.when(Submit, lambda m: [])
    with pytest.raises(TimeoutError, match="submitted"):
        client.submit(make_task()).accepted(0.05)

    broker.when(Submit, lambda m: [ends(m.task.id, TaskState.FAILED)])
    client.submit(make_task()).accepted(30)
