"""Attempts: who may answer for one, how it ends, and what follows."""

import pytest
from attrs import evolve
from tests.harness.broker_harness import (
    ALICE,
    W1,
    W2,
    BrokerHarness,
    beat,
    cancel,
    crash,
    fail,
    fence_before,
    make_machine,
    ready,
)

from paintmq.broker.records import TaskChanged
from paintmq.config import Limits, Timers
from paintmq.task import Fence, TaskError, TaskState
from paintmq.testing.example_tasks import make_hello, make_request, make_spec
from paintmq.wire.messages import (
    Abandon,
    AttemptFailed,
    AttemptRecorded,
    AttemptReturned,
    Draining,
    Finished,
    WhoAreYou,
    WorkerGoodbye,
)

# ---- fences --------------------------------------------------------------------------------------


def test_an_answer_with_an_old_fence_changes_nothing() -> None:
    """I5."""
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    before = broker.status(task)
    stale = evolve(item, fence=Fence(item.fence.incarnation + 1, item.fence.attempt))

    broker.succeed(evolve(item, fence=fence_before(item.fence)))
    broker.succeed(stale)
    fail(broker, stale, retryable=False)
    crash(broker, stale)
    broker.start(stale)

    assert broker.status(task) == before
    assert broker.machine.statistics(now=broker.now).stale_answers == 5
    # The zombie is told to stop repeating itself, and to stop.
    assert AttemptRecorded(task_id=task.id, fence=stale.fence) in broker.heard(W1, AttemptRecorded)
    assert Abandon(task_id=task.id, fence=stale.fence, grace=0.0) in broker.heard(W1, Abandon)


def test_fences_of_one_task_grow() -> None:
    """I6."""
    broker = ready()
    broker.submit()
    for _ in range(2):
        fail(broker, broker.assigned()[-1], retryable=True)
        broker.let_pass(5.0)

    assert [item.fence.attempt for item in broker.assigned()] == [1, 2, 3]


def test_a_result_that_comes_twice_is_recorded_once() -> None:
    """I3."""
    broker = ready()
    broker.submit()
    (item,) = broker.assigned()
    broker.succeed(item)
    broker.succeed(item)

    finishes = [r for r in broker.records if isinstance(r, TaskChanged) and r.event == "finish"]
    assert len(finishes) == 1
    assert len(broker.heard(ALICE, Finished)) == 1
    assert len(broker.heard(W1, AttemptRecorded)) == 2


def test_a_level_of_priority_is_worth_so_many_seconds_of_waiting_and_no_more() -> None:
    """I12: the rank a task is given at its acceptance bounds who may overtake it."""
    broker = ready(timers=Timers(ageing=10.0))
    held = broker.submit(make_request("0"))
    (item,) = broker.assigned()
    broker.start(item)
    plain = broker.submit(make_request("1"))
    broker.let_pass(9.0)
    overtakes = broker.submit(make_request("2", priority=1))
    broker.let_pass(2.0)
    comes_too_late = broker.submit(make_request("3", priority=1))
    for number in range(4):
        broker.succeed(broker.assigned()[number])

    order = [held.id, overtakes.id, plain.id, comes_too_late.id]
    assert [item.task.id for item in broker.assigned()] == order


# ---- leases --------------------------------------------------------------------------------------


def test_an_assignment_nobody_takes_up_goes_back_in_line() -> None:
    broker = ready()
    task = broker.submit()
    broker.let_pass(5.0)
    beat(broker)  # alive, but it never got the assignment
    broker.let_pass(5.0)

    status = broker.status(task)
    assert (status.undelivered, status.losses, status.crashes) == (1, 0, 0)
    assert len(broker.heard(W1, Abandon)) == 1


def test_heartbeats_that_name_the_fence_keep_a_lease_for_ever() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    for _ in range(50):
        broker.let_pass(10.0)
        beat(broker, item)

    assert broker.status(task).attempt == 1
    assert broker.status(task).state is TaskState.RUNNING


def test_a_silent_worker_loses_its_lease_and_cannot_publish_when_it_wakes() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.join(W2)
    for _ in range(4):
        broker.let_pass(9.0)
        beat(broker, *broker.assigned(W2), worker=W2)

    (again,) = broker.assigned(W2)
    assert again.fence.attempt == 2
    broker.succeed(item)  # from a connection the broker has forgotten
    assert broker.heard(W1, WhoAreYou) != []
    assert broker.machine.statistics(now=broker.now).stale_answers == 1
    broker.join(W1)
    broker.succeed(item)
    assert broker.machine.statistics(now=broker.now).stale_answers == 2
    assert broker.status(task).state is TaskState.LEASED
    broker.succeed(again, W2)
    assert broker.status(task).worker == "node/cpu-1"
    assert broker.status(task).losses == 1


def test_an_answer_over_an_unknown_connection_is_not_stale_while_its_attempt_lasts() -> None:
    """A broker that was restarted knows no connection yet, and takes the answer after a hello."""
    broker = ready()
    broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.take(broker.machine.peer_lost(W1, now=broker.now))

    broker.start(item)

    assert broker.heard(W1, WhoAreYou) != []
    assert broker.machine.statistics(now=broker.now).stale_answers == 0


def test_a_worker_that_does_not_enforce_its_run_limit_loses_the_attempt() -> None:
    broker = ready()
    task = broker.submit(make_request(run_limit=60.0))
    (item,) = broker.assigned()
    broker.start(item)
    for _ in range(9):
        broker.let_pass(10.0)
        beat(broker, item)

    assert broker.status(task).losses == 1


def test_a_lost_worker_is_not_given_anything_more() -> None:
    broker = ready()
    broker.take(broker.machine.peer_lost(W1, now=broker.now))
    broker.submit()

    assert broker.assigned() == []


def test_an_unreachable_worker_gives_back_what_it_never_took_up() -> None:
    broker = ready()
    broker.join(W2)
    broker.submit()
    broker.take(broker.machine.peer_lost(W1, now=broker.now))

    assert len(broker.assigned(W2)) == 1


def test_an_unreachable_worker_may_come_back_and_finish() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.take(broker.machine.peer_lost(W1, now=broker.now))
    broker.receive(W1, make_hello(running=((task.id, item.fence),)))
    broker.succeed(item)

    assert broker.status(task).state is TaskState.SUCCEEDED
    assert broker.status(task).attempt == 1


def test_a_task_of_an_unreachable_worker_is_cancelled_and_its_late_answer_changes_nothing() -> None:
    """I7."""
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.take(broker.machine.peer_lost(W1, now=broker.now))

    assert cancel(broker, task.id) == "cancelled"
    assert broker.heard(W1, Abandon) == []  # nobody is there to be asked
    broker.receive(W1, make_hello(running=((task.id, item.fence),)))
    broker.succeed(item)
    assert broker.status(task).state is TaskState.CANCELLED


def test_a_worker_that_replaces_its_dead_connection_keeps_what_it_claims_and_no_more() -> None:
    spec = make_spec(max_batch=2, batch_key=lambda job: "same")
    broker = BrokerHarness(make_machine(specs=[spec]))
    broker.greet()
    kept, lost = broker.submit(make_request("1")), broker.submit(make_request("2"))
    broker.join(W1)
    first, second = broker.assigned()
    broker.start(first)
    broker.receive(
        W2, make_hello(running=((kept.id, first.fence),), replaces=W1, name="node/cpu-0")
    )

    assert broker.status(kept).attempt == 1
    assert broker.status(lost).undelivered == 1
    broker.succeed(first, W2)
    assert broker.status(kept).state is TaskState.SUCCEEDED
    assert second.fence.attempt == 1


# ---- failures ------------------------------------------------------------------------------------


def test_an_error_that_is_not_retryable_ends_the_task() -> None:
    broker = ready()
    task = broker.submit()
    fail(broker, broker.assigned()[0], retryable=False)

    assert broker.status(task).state is TaskState.FAILED
    (finished,) = broker.heard(ALICE, Finished)
    assert finished.error is not None
    assert finished.error.message == "boom"


def test_a_traceback_is_kept_for_operators_and_not_sent_to_clients() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    error = TaskError(code="model_error", message="boom", traceback="File secret.py")
    broker.receive(W1, AttemptFailed(task_id=task.id, fence=item.fence, error=error))

    (finished,) = broker.heard(ALICE, Finished)
    assert finished.error is not None
    assert finished.error.traceback == ""
    assert broker.status(task).history[-1].error.traceback == "File secret.py"


def test_retryable_errors_are_tried_again_with_backoff_then_the_task_is_dead() -> None:
    broker = ready()
    task = broker.submit(make_request(max_attempts=3))
    for _ in range(3):
        fail(broker, broker.assigned()[-1], retryable=True)
        before = len(broker.assigned())
        broker.let_pass(0.5)
        assert len(broker.assigned()) == before, "no backoff"
        broker.let_pass(10.0)
        beat(broker, *broker.assigned()[-1:])

    status = broker.status(task)
    assert status.state is TaskState.DEAD
    assert [report.outcome for report in status.history] == ["failed"] * 3


def test_three_confirmed_crashes_of_its_own_make_a_task_dead() -> None:
    """I8."""
    broker = ready()
    task = broker.submit(make_request(max_attempts=99))
    for _ in range(3):
        crash(broker, broker.assigned()[-1])
        broker.let_pass(10.0)

    status = broker.status(task)
    assert (status.state, status.crashes) == (TaskState.DEAD, 3)
    assert len(broker.assigned()) == 3


def test_a_neighbour_of_a_crash_is_charged_nothing_and_runs_alone_next_time() -> None:
    """I9, quarantine."""
    spec = make_spec(max_batch=2, batch_key=lambda job: "same")
    broker = BrokerHarness(make_machine(specs=[spec]))
    broker.greet()
    tasks = [broker.submit(make_request(str(number))) for number in range(2)]
    broker.join(W1)
    for item in broker.assigned():
        crash(broker, item, alone=False)
    assert [broker.status(task).crashes for task in tasks] == [0, 0]
    assert all(broker.status(task).suspect for task in tasks)

    broker.let_pass(10.0)

    assert len(broker.assigned()) == 3, "two suspects at once"


def test_a_suspect_that_shares_a_crash_again_is_bounded_all_the_same() -> None:
    broker = ready(limits=Limits(losses=2))
    task = broker.submit()
    for _ in range(3):
        crash(broker, broker.assigned()[-1], alone=False)
        broker.let_pass(10.0)

    assert broker.status(task).state is TaskState.DEAD


def test_a_run_that_took_too_long_is_tried_again_up_to_max_attempts() -> None:
    broker = ready()
    task = broker.submit(make_request(max_attempts=1))
    crash(broker, broker.assigned()[0], timed_out=True)

    assert broker.status(task).state is TaskState.DEAD
    assert broker.status(task).history[-1].outcome == "timed_out"


def test_a_neighbour_of_a_run_that_took_too_long_is_charged_nothing_and_runs_alone_next_time() -> (
    None
):
    """I9, quarantine: a batch has one time limit, and nobody knows who used it up."""
    spec = make_spec(max_batch=2, batch_key=lambda job: "same")
    broker = BrokerHarness(make_machine(specs=[spec]))
    broker.greet()
    tasks = [broker.submit(make_request(str(number), max_attempts=1)) for number in range(2)]
    broker.join(W1)
    for item in broker.assigned():
        crash(broker, item, alone=False, timed_out=True)

    statuses = [broker.status(task) for task in tasks]
    assert [(status.failures, status.crashes) for status in statuses] == [(0, 0)] * 2
    assert all(status.suspect for status in statuses)
    broker.let_pass(10.0)
    assert len(broker.assigned()) == 3, "two suspects at once"


def test_a_draining_broker_does_not_spin_on_a_pause_that_ends() -> None:
    """What it will not give away is no reason to be called again and again."""
    broker = ready()
    broker.submit()
    fail(broker, broker.assigned()[0], retryable=True)
    broker.machine.set_draining()

    broker.let_pass(5.0)

    deadline = broker.machine.next_deadline()
    assert deadline is None or deadline > broker.now


@pytest.mark.parametrize("delivered", [True, False])
def test_no_way_back_into_the_queue_is_endless(*, delivered: bool) -> None:
    """I8: every cause has a limit."""
    broker = ready(limits=Limits(losses=3, undelivered=3))
    task = broker.submit()
    for _ in range(3):
        if delivered:
            broker.start(broker.assigned()[-1])
        broker.let_pass(40.0)
        broker.join(W1)

    assert broker.status(task).state is TaskState.DEAD
    assert broker.status(task).crashes == 0


def test_what_a_draining_worker_gives_back_goes_to_another() -> None:
    broker = ready(limits=Limits(undelivered=2))
    task = broker.submit()
    (item,) = broker.assigned()
    broker.receive(W1, Draining())
    broker.join(W2)
    broker.receive(W1, AttemptReturned(task_id=task.id, fence=item.fence, cancelled=False))
    assert len(broker.assigned(W2)) == 1

    broker.receive(W2, WorkerGoodbye())
    assert broker.status(task).state is TaskState.DEAD
