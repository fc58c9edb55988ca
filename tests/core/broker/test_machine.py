"""The broker's machine, rule by rule."""

from typing import Any

import pytest
from attrs import evolve

from paintmq.broker.records import TaskChanged, TaskPurged, replay
from paintmq.config import Limits, QueueConfig, Timers
from paintmq.model import InputSpec, Needs
from paintmq.task import Fence, PeerId, TaskError, TaskState, TaskStatus
from paintmq.testing.broker_harness import (
    ALICE,
    BOB,
    W1,
    W2,
    BrokerHarness,
    fence_before,
    make_hello,
    make_machine,
    make_payload,
    make_request,
    make_spec,
)
from paintmq.wire.messages import (
    Abandon,
    Accepted,
    Assignment,
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptRecorded,
    AttemptReturned,
    AttemptStarted,
    BrokerHeartbeat,
    Cancel,
    CancelAnswered,
    ClientGoodbye,
    ClientHello,
    Drain,
    Draining,
    Finished,
    Heartbeat,
    ModelLoaded,
    ModelUnloaded,
    Progressed,
    Query,
    Refused,
    Rejected,
    ResultReceived,
    Submit,
    UnknownTask,
    Welcome,
    WhoAreYou,
    WorkerGoodbye,
    WorkerWelcome,
)


def ready(**options: Any) -> BrokerHarness:
    """Return a broker with one client and one worker."""
    broker = BrokerHarness(make_machine(**options))
    broker.greet(ALICE)
    broker.join(W1)
    return broker


def fail(broker: BrokerHarness, item: Assignment, *, retryable: bool, worker: PeerId = W1) -> None:
    error = TaskError(code="model_error", message="boom", retryable=retryable)
    broker.receive(worker, AttemptFailed(task_id=item.task.id, fence=item.fence, error=error))


def crash(broker: BrokerHarness, item: Assignment, *, alone: bool = True, **more: Any) -> None:
    broker.receive(
        W1,
        AttemptCrashed(
            task_id=item.task.id, fence=item.fence, alone=alone, detail="killed by SIGKILL", **more
        ),
    )


def beat(broker: BrokerHarness, *items: Assignment, worker: PeerId = W1) -> None:
    running = tuple((item.task.id, item.fence) for item in items)
    broker.receive(worker, Heartbeat(running=running))


# ---- the straight path -------------------------------------------------------------------------


def test_a_task_goes_from_submission_to_success() -> None:
    broker = ready()
    task = broker.submit(make_request(inputs=()))
    (item,) = broker.assigned()
    broker.start(item)
    broker.succeed(item, outputs=[make_payload(size=5)])

    assert [type(m) for m in broker.heard(ALICE, object)] == [
        Welcome,
        Accepted,
        Progressed,
        Finished,
    ]
    (finished,) = broker.heard(ALICE, Finished)
    assert finished.state is TaskState.SUCCEEDED
    assert finished.outputs == (make_payload(size=5),)
    assert finished.queue == "cpu-light"
    assert finished.worker == "node/cpu-0"
    assert finished.attempts == 1
    assert broker.heard(W1, AttemptRecorded) == [AttemptRecorded(task_id=task.id, fence=item.fence)]


def test_every_change_is_recorded_once_and_replays_to_the_same_state() -> None:
    """I17: a restart finds what there was."""
    broker = ready()
    for number in range(3):
        broker.submit(make_request(str(number)))
    first, *_ = broker.assigned()
    broker.start(first)
    fail(broker, first, retryable=True)

    assert replay(broker.records) == broker.machine.stored()
    events = [r.event for r in broker.records if isinstance(r, TaskChanged)]
    assert events == ["lease", "start", "requeue", "lease"]


def test_progress_reaches_those_who_watch() -> None:
    broker = ready()
    broker.greet(BOB)
    task = broker.submit()
    broker.receive(BOB, Query((task.id,)))
    (item,) = broker.assigned()
    broker.receive(W1, AttemptProgressed(task_id=task.id, fence=item.fence, step=3, total=20))

    for client in (ALICE, BOB):
        last = broker.heard(client, Progressed)[-1]
        assert (last.step, last.total, last.state) == (3, 20, TaskState.RUNNING)


def test_loading_is_a_state_of_its_own() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.receive(W1, AttemptStarted(task_id=task.id, fence=item.fence, loading=True))

    assert broker.status(task).state is TaskState.LOADING
    broker.start(item)
    broker.start(item)  # a message that came twice changes nothing
    assert broker.status(task).state is TaskState.RUNNING


def test_a_busy_worker_gets_no_more_than_its_credit() -> None:
    broker = ready()
    for number in range(3):
        broker.submit(make_request(str(number)))

    assert len(broker.assigned()) == 1
    broker.succeed(broker.assigned()[0])
    assert len(broker.assigned()) == 2


# ---- admission ---------------------------------------------------------------------------------


def rejection(broker: BrokerHarness) -> Rejected:
    return broker.heard(ALICE, Rejected)[-1]


def test_an_unknown_model_is_refused_and_nothing_is_stored() -> None:
    broker = ready()
    broker.submit(make_request(model="nonesuch"))

    assert rejection(broker).code == "unknown_model"
    assert "toy" in rejection(broker).reason
    assert broker.machine.stored() == {}


def test_a_task_no_queue_could_hold_is_refused_with_the_reason_per_queue() -> None:
    spec = make_spec(devices=("cuda",), needs=lambda job: Needs(gpu_memory_mb=200_000))
    broker = ready(specs=[spec])
    broker.submit()

    assert rejection(broker).code == "no_queue_fits"
    assert "gpu-low: needs 200000 MB GPU memory, has 4096" in rejection(broker).reason


def test_a_queue_the_client_chose_must_exist_and_fit() -> None:
    broker = ready()
    broker.submit(make_request("1", queue="gpu-hihg"))
    assert rejection(broker).code == "invalid_task"
    assert "gpu-high" in rejection(broker).reason

    broker.submit(make_request("2", queue="gpu-high"))
    assert rejection(broker).code == "no_queue_fits"
    assert "cpu-light" in rejection(broker).reason


def test_a_full_queue_refuses_and_says_how_long_to_wait() -> None:
    """I15."""
    broker = BrokerHarness(make_machine(queues={"cpu-light": QueueConfig(capacity=2)}))
    broker.greet()
    for number in range(3):
        broker.submit(make_request(str(number)))

    assert rejection(broker).code == "queue_full"
    assert rejection(broker).retry_after is not None
    assert len(broker.heard(ALICE, Accepted)) == 2
    assert broker.machine.statistics(now=broker.now).rejected == 1


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_payload_bytes=9), "invalid_input"),
        (Limits(max_task_bytes=9), "invalid_input"),
        (Limits(max_bytes_in_flight=9), "bytes_full"),
        (Limits(max_tasks=1), "queue_full"),
    ],
)
def test_every_limit_refuses_in_words(limits: Limits, code: str) -> None:
    """I15."""
    spec = make_spec(inputs=(InputSpec(name="image"),))
    broker = BrokerHarness(make_machine(limits=limits, specs=[spec]))
    broker.greet()
    if code == "queue_full":
        broker.submit(make_request("1"))
    broker.submit(make_request("2", inputs=(make_payload(size=10),)))

    assert rejection(broker).code == code


def test_a_strict_task_is_refused_when_no_connected_worker_can_run_it() -> None:
    broker = BrokerHarness()
    broker.greet()
    broker.submit(make_request(strict=True))
    assert rejection(broker).code == "no_worker"

    broker.join()
    broker.submit(make_request(strict=True))
    assert len(broker.assigned()) == 1


def test_a_full_disk_and_a_drain_refuse_new_tasks_alone() -> None:
    broker = ready()
    broker.submit(make_request("1"))
    broker.machine.set_disk_full(full=True)
    broker.submit(make_request("2"))
    assert rejection(broker).code == "disk_full"

    broker.machine.set_disk_full(full=False)
    broker.machine.set_draining()
    broker.submit(make_request("3"))
    assert rejection(broker).code == "draining"
    broker.succeed(broker.assigned()[0])
    assert broker.heard(ALICE, Finished)[-1].state is TaskState.SUCCEEDED
    assert broker.machine.is_idle()


def test_a_task_nobody_can_run_yet_waits_and_says_for_what() -> None:
    broker = BrokerHarness()
    broker.greet()
    broker.submit()

    (accepted,) = broker.heard(ALICE, Accepted)
    assert accepted.waiting_for != ""
    broker.join()
    assert len(broker.assigned()) == 1


# ---- the same task twice -----------------------------------------------------------------------


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


# ---- fences ------------------------------------------------------------------------------------


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


# ---- leases ------------------------------------------------------------------------------------


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
    broker.join(W1)
    broker.succeed(item)
    assert broker.status(task).state is TaskState.LEASED
    broker.succeed(again, W2)
    assert broker.status(task).worker == "node/cpu-1"
    assert broker.status(task).losses == 1


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


# ---- failures ----------------------------------------------------------------------------------


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


# ---- cancelling --------------------------------------------------------------------------------


def cancel(broker: BrokerHarness, task_id: str) -> str:
    broker.receive(ALICE, Cancel(task_id))  # type: ignore[arg-type]  # an id as a client types it
    return broker.heard(ALICE, CancelAnswered)[-1].answer


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


# ---- time limits and keeping -------------------------------------------------------------------


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


# ---- restart -----------------------------------------------------------------------------------


def restarted(broker: BrokerHarness, **options: Any) -> BrokerHarness:
    """Return a broker of another incarnation on the same journal."""
    again = BrokerHarness(make_machine(incarnation=8, **options), now=broker.now)
    stored = list(replay(broker.records).values())
    again.take(again.machine.restore(stored, now=again.now))
    return again


def test_a_restarted_broker_finds_every_task_where_it_was() -> None:
    broker = ready()
    tasks = [broker.submit(make_request(str(number))) for number in range(3)]
    broker.succeed(broker.assigned()[0])
    broker.receive(ALICE, ResultReceived(tasks[0].id))

    again = restarted(broker)

    assert again.machine.stored() == broker.machine.stored()
    assert [again.status(task).state for task in tasks] == [
        TaskState.SUCCEEDED,
        TaskState.LEASED,
        TaskState.QUEUED,
    ]


def test_a_worker_goes_on_with_its_attempt_after_a_restart() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    again = restarted(broker)
    again.receive(W1, Heartbeat(running=((task.id, item.fence),)))
    assert again.heard(W1, WhoAreYou) == [WhoAreYou()]
    again.receive(W1, make_hello(running=((task.id, item.fence),)))
    again.submit(make_request("2"))
    again.greet()
    again.receive(ALICE, Query((task.id,)))
    again.succeed(item)

    assert again.status(task).attempt == 1
    assert again.heard(ALICE, Finished)[0].task_id == task.id


def test_an_attempt_nobody_claims_after_a_restart_is_tried_again() -> None:
    broker = ready()
    task = broker.submit()
    broker.start(broker.assigned()[0])
    again = restarted(broker)
    again.join(W2)
    for _ in range(5):
        again.let_pass(9.0)
        beat(again, worker=W2)

    (item,) = again.assigned(W2)
    assert item.fence == Fence(8, 2)
    assert again.status(task).losses == 1


def test_a_task_whose_model_is_gone_is_kept_among_the_dead() -> None:
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit()

    again = restarted(broker, specs=[make_spec("other")])

    status: TaskStatus = again.status(task)
    assert status.state is TaskState.DEAD
    assert status.error is not None
    assert "'toy'" in status.error.message
    again.greet()
    assert "not installed" in again.ask("dead_requeue", task_id=task.id).error


def workers(broker: BrokerHarness) -> Any:
    return broker.ask("workers").value


# ---- dead letters and other questions ----------------------------------------------------------


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


# ---- peers -------------------------------------------------------------------------------------


def test_a_peer_that_speaks_another_protocol_is_refused_in_words() -> None:
    """I18."""
    broker = BrokerHarness()
    broker.receive(ALICE, ClientHello(oldest=99, newest=99))
    broker.receive(W1, make_hello(oldest=0, newest=0))

    assert "update the broker" in broker.heard(ALICE, Refused)[0].reason
    assert broker.heard(W1, Refused)[0].reason.endswith("update it")
    broker.submit()
    assert broker.heard(ALICE, WhoAreYou) == [WhoAreYou()]


def test_a_client_cannot_speak_as_a_worker_nor_a_worker_as_a_client() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.succeed(item, ALICE)
    broker.receive(W1, Submit(make_request("2")))

    assert broker.status(task).state is TaskState.LEASED
    assert "client" in broker.heard(ALICE, Refused)[0].reason
    assert "worker" in broker.heard(W1, Refused)[0].reason


def test_heartbeats_are_answered() -> None:
    broker = ready()
    broker.receive(ALICE, Heartbeat())
    broker.receive(W1, Heartbeat())

    assert broker.heard(ALICE, BrokerHeartbeat) == broker.heard(W1, BrokerHeartbeat)


def test_a_goodbye_from_a_stranger_is_not_answered() -> None:
    broker = BrokerHarness()

    assert broker.receive(ALICE, ClientGoodbye()) == []


def test_saying_hello_again_changes_nothing() -> None:
    broker = ready()
    broker.greet()
    broker.submit()
    broker.join()

    assert len(broker.assigned()) == 1
    assert len(broker.heard(W1, WorkerWelcome)) == 2


def test_a_worker_may_change_what_it_offers_while_it_runs() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.join(W1, models=("toy", "other"), running=((task.id, item.fence),))
    broker.succeed(item)

    assert broker.status(task).state is TaskState.SUCCEEDED


def test_what_workers_load_and_unload_is_known() -> None:
    broker = ready()
    broker.receive(W1, ModelLoaded(model="toy", seconds=1.0, memory_mb=64))
    row = workers(broker)[0]
    assert row["resident"] == ["toy"]

    broker.receive(W1, ModelUnloaded(model="toy"))
    row = workers(broker)[0]
    assert row["resident"] == []


def test_a_client_that_leaves_as_a_lease_runs_out_leaves_nothing_behind() -> None:
    """Found by the state machine: both fell due at once, and it was queued again."""
    broker = BrokerHarness()
    broker.greet()
    task = broker.submit(make_request(cancel_on_disconnect=True))
    broker.join(W1)
    broker.start(broker.assigned()[0])
    broker.receive(ALICE, Heartbeat())
    broker.now += 60.0
    broker.take(broker.machine.tick(now=broker.now))

    assert broker.status(task).state is TaskState.CANCELLED


def test_a_worker_on_a_new_connection_may_go_on_before_its_old_one_is_missed() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.start(item)
    broker.receive(W2, make_hello("node/cpu-0"))
    broker.receive(W2, AttemptProgressed(task_id=task.id, fence=item.fence, step=1, total=2))
    broker.take(broker.machine.peer_lost(W1, now=broker.now))
    broker.succeed(item, W2)

    assert broker.status(task).state is TaskState.SUCCEEDED
    assert broker.status(task).attempt == 1


def test_a_result_that_comes_over_another_connection_of_its_worker_counts() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    broker.receive(W2, make_hello("node/cpu-0"))
    broker.succeed(item, W2)

    assert broker.status(task).state is TaskState.SUCCEEDED


def test_progress_by_an_old_fence_is_told_to_stop() -> None:
    broker = ready()
    task = broker.submit()
    (item,) = broker.assigned()
    old = fence_before(item.fence)
    broker.receive(W1, AttemptProgressed(task_id=task.id, fence=old, step=1, total=2))

    assert broker.heard(W1, Abandon) == [Abandon(task_id=task.id, fence=old, grace=0.0)]
    assert broker.status(task).state is TaskState.LEASED
