"""Questions: dead letters, why a task waits, workers and statistics."""

from typing import Any

from paintmq.broker.records import replay
from paintmq.task import TaskState
from paintmq.testing.broker_harness import (
    W1,
    BrokerHarness,
    fail,
    make_request,
    ready,
    workers,
)
from paintmq.wire.messages import (
    Drain,
)


def dead_task(broker: BrokerHarness) -> Any:
    task = broker.submit(make_request(max_attempts=1))
    fail(broker, broker.assigned()[-1], retryable=True)
    assert broker.status(task).state is TaskState.DEAD
    return task


def test_dead_letters_are_listed_shown_and_requeued() -> None:
    broker = ready()
    task = dead_task(broker)
    listing: Any = broker.ask("dead_list").value
    assert [row["id"] for row in listing["tasks"]] == [task.id]
    shown: Any = broker.ask("dead_show", task_id=task.id).value
    assert shown["history"][0]["error"]["message"] == "boom"

    broker.ask("dead_requeue", task_id=task.id)
    broker.succeed(broker.assigned()[-1])

    assert broker.status(task).state is TaskState.SUCCEEDED
    assert replay(broker.records) == broker.machine.stored()
    assert "not dead" in broker.ask("dead_drop", task_id=task.id).error


def test_a_dead_letter_can_be_dropped() -> None:
    broker = ready()
    task = dead_task(broker)
    broker.ask("dead_drop", task_id=task.id)

    assert broker.machine.stored() == {}
    assert "never accepted" in broker.ask("dead_show", task_id=task.id).error


def test_why_says_what_a_task_waits_for() -> None:
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit()

    answer: Any = broker.ask("why", task_id=task.id).value

    assert answer["task"]["state"] == "queued"
    assert answer["waiting_for"]
    broker.join()
    answer = broker.ask("why", task_id=task.id).value
    assert answer["task"]["state"] == "leased"


def test_workers_are_listed_and_drained_by_name() -> None:
    broker = ready()
    task = broker.submit()
    row = workers(broker)[0]
    assert row["name"] == "node/cpu-0"
    assert row["running"] == [task.id]
    assert "connected: node/cpu-0" in broker.ask("drain_worker", name="x").error
    assert "grace" in broker.ask("drain_worker", name="node/cpu-0", grace=-1).error

    broker.ask("drain_worker", name="node/cpu-0", grace=3)

    assert broker.heard(W1, Drain) == [Drain(grace=3.0)]
    broker.succeed(broker.assigned()[0])
    broker.submit(make_request("2"))
    assert len(broker.assigned()) == 1


def test_an_unknown_subject_is_answered_with_the_known_ones() -> None:
    broker = ready()

    assert "dead_list" in broker.ask("__class__").error


def test_statistics_balance() -> None:
    """I10."""
    broker = ready()
    for number in range(4):
        broker.submit(make_request(str(number)))
    broker.succeed(broker.assigned()[0])
    fail(broker, broker.assigned()[1], retryable=False)

    statistics = broker.machine.statistics(now=broker.now)

    assert statistics.unaccounted == 0
    queue = statistics.queues["cpu-light"]
    assert (queue.waiting, queue.running, queue.succeeded, queue.failed) == (1, 1, 1, 1)
    value: Any = broker.ask("statistics").value
    assert value["queues"]["cpu-light"]["succeeded"] == 1
    assert len(list(broker.machine.unfinished())) == 2
