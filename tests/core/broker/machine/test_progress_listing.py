"""What a listing tells of running tasks: how far they are, and for how long they have run."""

from typing import Any

from tests.harness.broker_harness import W1, W2, BrokerHarness, fail, ready

from paintmq.testing.example_tasks import make_request
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


def test_the_progress_of_a_task_is_told_while_it_runs_alone() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    assert broker.machine.progress_of(task.id) is None
    broker.start(item)
    broker.receive(W1, AttemptProgressed(task_id=task.id, fence=item.fence, step=3, total=10))

    told = broker.machine.progress_of(task.id)
    assert told == (broker.machine.stored_task(task.id), 3, 10)
    broker.succeed(item)
    assert broker.machine.progress_of(task.id) is None
    assert broker.machine.progress_of(make_request("2").id) is None
