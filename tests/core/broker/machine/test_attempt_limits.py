"""No attempt goes on for ever, and no task waits for ever for the worker that did not fail it."""

import pytest
from tests.harness.broker_harness import (
    W1,
    W2,
    BrokerHarness,
    beat,
    crash,
    fail,
    ready,
    restarted,
)
from tests.harness.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    picks,
    session,
)

from paintmq.broker.machine.leases import RUN_LIMIT_MARGIN
from paintmq.config import Timers
from paintmq.model import ModelSpec
from paintmq.plugin.catalog import Catalog
from paintmq.task import TaskState
from paintmq.testing.example_tasks import make_request, make_spec
from paintmq.wire.messages import Abandon, Assignment, AttemptStarted, ModelLoaded

TIMERS = Timers(restart_grace=45.0, retry_first=1.0, retry_most=60.0)
SPEC = make_spec(load_limit=20.0, run_limit=100.0)


def broker_with_one_worker() -> BrokerHarness:
    return ready(timers=TIMERS, specs=[SPEC])


def keep_alive(broker: BrokerHarness, *items: Assignment, seconds: float) -> None:
    """Let the worker send a heartbeat that names the attempts, every five seconds."""
    for _ in range(int(seconds / 5.0)):
        broker.let_pass(5.0)
        beat(broker, *items)


@pytest.mark.parametrize("state", [TaskState.LEASED, TaskState.LOADING, TaskState.RUNNING])
def test_an_attempt_that_outlives_the_broker_has_a_limit_however_often_it_is_claimed(
    state: TaskState,
) -> None:
    """I1: the worker is alive and names the fence for ever, but never ends the attempt."""
    broker = broker_with_one_worker()
    task = broker.submit()
    (item,) = broker.assigned()
    if state is not TaskState.LEASED:
        loading = state is TaskState.LOADING
        message = AttemptStarted(task_id=task.id, fence=item.fence, loading=loading)
        broker.receive(W1, message)
    again = restarted(broker, timers=TIMERS, specs=[SPEC])
    again.join(W1, running=((task.id, item.fence),))
    limit = 45.0 + 20.0 + 100.0 + RUN_LIMIT_MARGIN

    keep_alive(again, item, seconds=limit - 10.0)
    assert again.status(task).state is state
    keep_alive(again, item, seconds=10.0)

    status = again.status(task)
    assert (status.losses, status.history[-1].outcome) == (1, "lost")
    assert "exceeded its limits" in status.history[-1].error.message
    assert Abandon(task_id=task.id, fence=item.fence, grace=0.0) in again.heard(W1, Abandon)


def test_an_attempt_that_its_worker_never_begins_has_a_limit() -> None:
    """I1."""
    broker = broker_with_one_worker()
    task = broker.submit()
    (item,) = broker.assigned()

    keep_alive(broker, item, seconds=20.0 + 100.0 + RUN_LIMIT_MARGIN)

    assert broker.status(task).losses == 1


def test_a_worker_has_time_for_all_that_it_holds() -> None:
    """An attempt that was sent early may have to wait until those before it have ended."""
    quick = ModelSpec(name="quick", implementation="m:M", run_seconds=lambda job: 0.01)
    scheduler = make_scheduler()
    join(scheduler, make_worker("w", models=("quick",), credit=2))
    loaded = ModelLoaded(model="quick", seconds=0.0, memory_mb=1)
    scheduler.model_loaded(session("w"), loaded, now=0.0)
    for number in range(2):
        task = make_task(number, "quick", catalog=Catalog([quick]))
        scheduler.add(task, now=0.0)
    assert scheduler.longest_hold(session("w")) == 0.0

    assert len(picks(scheduler)) == 2
    one = quick.load_limit + quick.run_limit
    assert scheduler.longest_hold(session("w")) == 2 * one
    scheduler.worker_left(session("w"), now=0.0)
    assert scheduler.longest_hold(session("w")) == 0.0


def test_a_message_that_was_overtaken_does_not_shorten_a_run() -> None:
    broker = broker_with_one_worker()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.receive(W1, AttemptStarted(task_id=task.id, fence=item.fence, loading=True))

    assert broker.status(task).state is TaskState.RUNNING
    keep_alive(broker, item, seconds=100.0)
    assert broker.status(task).losses == 0


def with_a_stuck_worker() -> tuple[BrokerHarness, Assignment]:
    """Return a broker whose second worker is busy, and an attempt that crashed on the first."""
    broker = broker_with_one_worker()
    broker.submit(make_request("1"))
    broker.join(W2)
    broker.submit(make_request("2"))
    (stuck,) = broker.assigned(W2)
    broker.start(stuck, W2)
    (item,) = broker.assigned(W1)
    crash(broker, item)
    return broker, item


def test_a_task_waits_for_a_worker_that_did_not_fail_it_and_not_for_ever() -> None:
    """I1, I21: the other worker may be busy or stuck for as long as it likes."""
    broker, item = with_a_stuck_worker()
    assert broker.status(item.task).excluded == ("node/cpu-0",)

    for _ in range(6):
        broker.let_pass(9.0)
        beat(broker)
        beat(broker, *broker.assigned(W2), worker=W2)
    assert broker.status(item.task).state is TaskState.QUEUED
    broker.let_pass(9.0)

    assert broker.status(item.task).state is TaskState.LEASED
    assert broker.status(item.task).worker == "node/cpu-0"
    assert broker.status(item.task).crashes == 1


def test_an_exclusion_ends_after_a_restart_too() -> None:
    broker, item = with_a_stuck_worker()
    again = restarted(broker, timers=TIMERS, specs=[SPEC])

    again.let_pass(63.0)

    assert again.status(item.task).excluded == ()


def test_a_task_that_another_worker_can_take_keeps_its_exclusions() -> None:
    broker = broker_with_one_worker()
    task = broker.submit()
    broker.join(W2)
    fail(broker, broker.assigned()[-1], retryable=True)
    broker.let_pass(2.0)

    assert broker.status(task).worker == "node/cpu-1"
    assert broker.status(task).excluded == ("node/cpu-0",)
