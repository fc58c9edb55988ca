"""What a listing tells of running tasks: how far they are, and for how long they have run."""

from typing import Any

from tests.harness.broker_harness import W1, W2, BrokerHarness, fail, ready

from paintmq.wire.messages import AttemptProgressed


def listed(broker: BrokerHarness) -> dict[str, Any]:
    answer: Any = broker.ask("tasks").value
    (row,) = answer["tasks"]
    return {key: row[key] for key in ("step", "total", "running_for")}


def test_a_running_task_is_listed_with_its_progress() -> None:
    broker = ready()
    broker.submit()
    (item,) = broker.assigned()
    nothing = {"step": 0, "total": 0, "running_for": None}
    assert listed(broker) == nothing

    progress = AttemptProgressed(task_id=item.task.id, fence=item.fence, step=3, total=10)
    broker.receive(W1, progress)
    broker.let_pass(2.0)

    assert listed(broker) == {"step": 3, "total": 10, "running_for": 2.0}
    broker.succeed(item)
    assert listed(broker) == nothing


def test_a_new_attempt_begins_with_no_progress() -> None:
    broker = ready()
    broker.join(W2)
    broker.submit()
    (item,) = broker.assigned()
    progress = AttemptProgressed(task_id=item.task.id, fence=item.fence, step=3, total=10)
    broker.receive(W1, progress)

    fail(broker, item, retryable=True)
    broker.let_pass(8.0)

    assert len(broker.assigned(W2)) == 1, "another worker has it now"
    assert listed(broker) == {"step": 0, "total": 0, "running_for": None}
