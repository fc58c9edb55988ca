"""Many tasks at once, through either client: order, bounds, full queues."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.harness.any_client import AnyClient, accepts, ends, make_task, succeeds
from tests.harness.client_port import ScriptedBroker

from paintmq import Task, TaskState
from paintmq.errors import (
    InvalidTaskError,
)
from paintmq.wire.messages import (
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
