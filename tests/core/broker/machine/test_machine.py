"""The broker's machine as a whole: the straight path of a task, and a restart."""

from tests.harness.broker_harness import (
    ALICE,
    BOB,
    W1,
    W2,
    BrokerHarness,
    beat,
    fail,
    ready,
    restarted,
)

from paintmq.broker.records import TaskChanged, replay
from paintmq.routing import BoardView, WorkerView
from paintmq.task import Fence, TaskState
from paintmq.task_status import TaskStatus
from paintmq.testing.example_tasks import make_hello, make_payload, make_request, make_spec
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import (
    Accepted,
    AttemptProgressed,
    AttemptRecorded,
    AttemptStarted,
    Cancel,
    Finished,
    Heartbeat,
    Preload,
    Progressed,
    Query,
    ResultReceived,
    Submit,
    ToBroker,
    Welcome,
    WhoAreYou,
)

# ---- the straight path ---------------------------------------------------------------------------


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


def test_one_task_is_told_as_all_of_them_are() -> None:
    broker = ready()
    task = broker.submit()

    assert broker.machine.stored_task(task.id) == broker.machine.stored()[task.id]
    assert broker.machine.stored_task(make_request("2").id) is None


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


# ---- restart -------------------------------------------------------------------------------------


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


# ---- routers -----------------------------------------------------------------------------------


class Eager(PlainRouter):
    """Has every idle worker load every model it has heard of."""

    def choose_preload(self, board: BoardView, *, now: float) -> tuple[WorkerView, str] | None:
        for worker in board.workers():
            for model in board.models():
                if not worker.has(model) and model not in worker.loading:
                    return worker, model
        return None


def test_another_router_may_take_over_and_have_models_loaded_ahead() -> None:
    broker = ready()
    broker.submit()
    item = broker.assigned()[0]
    broker.start(item)
    broker.succeed(item)
    broker.join(W2)
    broker.take(broker.machine.replace_router(Eager(), now=broker.now))

    assert broker.heard(W2, Preload) == [Preload("toy")]
    assert broker.heard(W1, Preload) == [], "it has the model"
    assert broker.machine.conserves_work(now=broker.now)


def test_messages_that_share_a_step_are_answered_as_if_each_had_its_own() -> None:
    """What a worker is given may come in fuller batches."""
    one_by_one, together = BrokerHarness(), BrokerHarness()
    for broker in (one_by_one, together):
        broker.greet(ALICE)
        broker.join(W1)
    messages: list[ToBroker] = [Submit(make_request(str(number))) for number in range(3)]
    messages += [Submit(make_request("1")), Cancel(make_request("2").id)]

    for message in messages:
        one_by_one.receive(ALICE, message)
    counted = [together.machine.take_in(ALICE, each, now=together.now) for each in messages]
    sends = together.take(together.machine.finish(now=together.now))

    assert counted == [1, 2, 3, 3, 4], "each task is accepted, one known already, one cancelled"
    answers = [message for peer, message in sends if peer == ALICE]
    assert [type(each).__name__ for each in answers] == [
        "Accepted",
        "Accepted",
        "Accepted",
        "Accepted",
        "Finished",
        "CancelAnswered",
    ]
    states = {task_id: task.status.state for task_id, task in together.machine.stored().items()}
    assert states == {
        task_id: task.status.state for task_id, task in one_by_one.machine.stored().items()
    }
