"""What clients say: submissions that come twice, and cancels."""

from attrs import evolve
from tests.harness.broker_harness import ALICE, W1, BrokerHarness, beat, cancel, ready, rejection

from paintmq.config import Timers
from paintmq.task import TaskState
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import (
    Abandon,
    AttemptReturned,
    ClientGoodbye,
    Finished,
    Query,
    WhoAreYou,
)

# ---- the same task twice -------------------------------------------------------------------------


def test_submitting_twice_is_one_task() -> None:
    broker = ready()
    task = broker.submit()
    broker.submit(task)
    broker.succeed(broker.assigned()[0])
    broker.submit(task)

    assert len(broker.assigned()) == 1
    assert len(broker.heard(ALICE, Finished)) == 2
    assert broker.machine.statistics(now=broker.now).duplicates == 2


def test_another_task_under_a_known_id_is_a_conflict() -> None:
    broker = ready()
    task = broker.submit()
    broker.submit(evolve(task, priority=3))

    assert rejection(broker).code == "conflict"


# ---- cancelling ----------------------------------------------------------------------------------


def test_a_waiting_task_is_cancelled_at_once() -> None:
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit()

    assert cancel(broker, task.id) == "cancelled"
    assert broker.status(task).state is TaskState.CANCELLED
    broker.join()
    assert broker.assigned() == []


def test_a_running_task_is_cancelled_and_its_worker_told() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)

    assert cancel(broker, task.id) == "cancelled"
    assert broker.heard(W1, Abandon) == [
        Abandon(task_id=task.id, fence=item.fence, grace=Timers().cancel_grace)
    ]
    broker.succeed(item)
    assert broker.status(task).state is TaskState.CANCELLED, "I7"


def test_the_worker_is_free_again_only_when_it_has_stopped() -> None:
    broker = ready()
    task = broker.submit(make_request("1"))
    (item,) = broker.assigned()
    broker.start(item)
    cancel(broker, task.id)
    broker.submit(make_request("2"))
    beat(broker, item)
    assert len(broker.assigned()) == 1

    broker.receive(W1, AttemptReturned(task_id=task.id, fence=item.fence, cancelled=True))
    assert len(broker.assigned()) == 2


def test_a_worker_whose_heartbeat_no_longer_names_a_cancelled_attempt_is_free() -> None:
    broker = ready()
    task = broker.submit(make_request("1"))
    cancel(broker, task.id)
    broker.submit(make_request("2"))
    beat(broker)

    assert len(broker.assigned()) == 2


def test_a_worker_that_never_says_it_has_stopped_is_free_after_a_while() -> None:
    broker = ready()
    task = broker.submit(make_request("1"))
    (item,) = broker.assigned()
    cancel(broker, task.id)
    broker.submit(make_request("2"))
    for _ in range(4):
        broker.let_pass(10.0)
        beat(broker, item)

    assert len(broker.assigned()) == 2


def test_cancelling_answers_too_late_and_unknown() -> None:
    broker = ready()
    task = broker.submit()
    broker.succeed(broker.assigned()[0])

    assert cancel(broker, task.id) == "too_late"
    assert cancel(broker, "f" * 32) == "unknown"


def test_cancelling_twice_says_cancelled_twice() -> None:
    broker = ready()
    task = broker.submit()

    assert [cancel(broker, task.id) for _ in range(2)] == ["cancelled"] * 2


def test_a_task_may_end_with_its_client() -> None:
    broker = BrokerHarness()
    broker.greet()
    goes = broker.submit(make_request("1", cancel_on_disconnect=True))
    stays = broker.submit(make_request("2"))
    broker.receive(ALICE, ClientGoodbye())

    assert broker.status(goes).state is TaskState.CANCELLED
    assert broker.status(stays).state is TaskState.QUEUED


def test_a_client_that_falls_silent_is_forgotten() -> None:
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit(make_request(cancel_on_disconnect=True))
    broker.let_pass(31.0)

    assert broker.status(task).state is TaskState.CANCELLED
    broker.receive(ALICE, Query((task.id,)))
    assert broker.heard(ALICE, WhoAreYou) != []
