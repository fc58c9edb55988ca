"""How long a task may wait, and how long what became of it is kept."""

import pytest
from tests.harness.broker_harness import ALICE, BrokerHarness, crash, fail, ready, restarted

from paintmq.broker.machine.machine import PURGE_PAUSE, PURGED_AT_ONCE
from paintmq.broker.records import TaskPurged
from paintmq.config import Limits, Timers
from paintmq.task import TaskState
from paintmq.testing.example_tasks import make_payload, make_request
from paintmq.wire.messages import (
    Query,
    ResultReceived,
    UnknownTask,
)


def test_a_task_not_started_in_time_expires() -> None:
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit(make_request(expires_in=10.0))
    broker.let_pass(9.9)
    assert broker.status(task).state is TaskState.QUEUED

    broker.let_pass(0.1)
    assert broker.status(task).state is TaskState.EXPIRED
    broker.join()
    assert broker.assigned() == []


def test_a_deadline_is_for_the_start_and_holds_for_retries_too() -> None:
    broker = ready()
    task = broker.submit(make_request(expires_in=10.0))
    (item,) = broker.assigned()
    broker.start(item)
    broker.let_pass(15.0)
    assert broker.status(task).state is TaskState.RUNNING

    fail(broker, item, retryable=True)
    assert broker.status(task).state is TaskState.EXPIRED


def test_a_result_is_kept_until_its_client_has_it_and_a_little_longer() -> None:
    timers = Timers(result_kept=600.0, result_kept_at_most=86_400.0)
    broker = ready(timers=timers)
    task = broker.submit()
    broker.succeed(broker.assigned()[0])
    broker.let_pass(3600.0)
    assert task.id in broker.machine.stored()

    broker.greet()
    broker.receive(ALICE, ResultReceived(task.id))
    broker.receive(ALICE, ResultReceived(task.id))
    broker.let_pass(599.0)
    assert task.id in broker.machine.stored()
    broker.let_pass(1.0)
    assert task.id not in broker.machine.stored()
    broker.greet()
    broker.receive(ALICE, Query((task.id,)))
    assert broker.heard(ALICE, UnknownTask) == [UnknownTask(task.id)]


def test_a_result_nobody_fetched_goes_after_its_time_to_live() -> None:
    broker = ready()
    task = broker.submit()
    broker.succeed(broker.assigned()[0])
    broker.let_pass(86_401.0)

    assert TaskPurged(task.id) in broker.records


def test_results_that_clients_have_go_early_when_they_fill_the_memory() -> None:
    """I14."""
    broker = ready(limits=Limits(max_spent_bytes=250))
    tasks = []
    for number in range(3):
        tasks.append(broker.submit(make_request(str(number))))
        broker.succeed(broker.assigned()[-1], outputs=[make_payload(size=100)])
        broker.receive(ALICE, ResultReceived(tasks[-1].id))

    assert list(broker.machine.stored()) == [tasks[1].id, tasks[2].id]


def test_acknowledging_what_has_not_ended_changes_nothing() -> None:
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit()
    broker.receive(ALICE, ResultReceived(task.id))
    broker.receive(ALICE, ResultReceived(make_request("9").id))

    assert broker.status(task).acknowledged_at is None


@pytest.mark.parametrize("years", [0.01, 9.0])
def test_what_nobody_has_fetched_is_not_forgotten_at_once_by_a_broker_that_was_away(
    years: float,
) -> None:
    """Or whose machine's clock says that it was: however often it is started."""
    timers = Timers(result_kept=600.0, result_kept_at_most=86_400.0, dead_kept=86_400.0)
    broker = ready(timers=timers, limits=Limits(crashes=1))
    fetched, unfetched, dead = (broker.submit(make_request(name)) for name in ("1", "2", "3"))
    broker.succeed(broker.assigned()[-1])
    broker.receive(ALICE, ResultReceived(fetched.id))
    broker.succeed(broker.assigned()[-1])
    crash(broker, broker.assigned()[-1])
    assert broker.status(dead).state is TaskState.DEAD

    broker.now += years * 365 * 86_400
    for _ in range(2):
        again = restarted(broker, timers=timers)
        again.let_pass(599.0)
        assert again.machine.stored().keys() == {unfetched.id, dead.id}
        broker.now = again.now
    again.let_pass(1.0)
    assert not again.machine.stored()


def test_results_that_their_clients_have_make_room_while_the_disk_is_full() -> None:
    """What no client has is kept as long as promised, and so is what ends meanwhile."""
    broker = ready()
    had, waiting = broker.submit(make_request("1")), broker.submit(make_request("2"))
    for _ in (had, waiting):
        broker.succeed(broker.assigned()[-1])
    broker.receive(ALICE, ResultReceived(had.id))

    broker.machine.set_disk_full(full=True)
    broker.let_pass(PURGE_PAUSE)

    assert had.id not in broker.machine.stored()
    assert waiting.id in broker.machine.stored()
    broker.receive(ALICE, ResultReceived(waiting.id))
    broker.let_pass(PURGE_PAUSE)
    assert waiting.id not in broker.machine.stored()


def test_a_step_purges_only_some_of_many_results_at_once() -> None:
    broker = ready()
    for number in range(PURGED_AT_ONCE + 1):
        task = broker.submit(make_request(str(number)))
        broker.succeed(broker.assigned()[-1])
        broker.receive(ALICE, ResultReceived(task.id))
    broker.machine.set_disk_full(full=True)

    broker.let_pass(0.0)
    assert len(broker.machine.stored()) == 1
    broker.let_pass(PURGE_PAUSE)
    assert not broker.machine.stored()
