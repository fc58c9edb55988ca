"""Workers that can run nothing for now: no task pays for it, and everybody is told why."""

from typing import Any

from tests.harness.broker_harness import ALICE, W1, W2, BrokerHarness, crash, fail, ready, workers
from tests.harness.measured_system import make_system

from paintmq.broker.machine.sessions import MAX_TROUBLE
from paintmq.config import Limits
from paintmq.task import PeerId, TaskError, TaskState
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import (
    Assignment,
    AttemptFailed,
    AttemptReturned,
    AttemptStarted,
    Draining,
    Finished,
    ModelLogged,
    ModelUnloaded,
    NodeMeasured,
    Progressed,
    Rejected,
)

MEASURED = make_system()
TROUBLE = "its model host does not start: it exited with status 127: no libx\nfirst\nno libx"


def give_back(broker: BrokerHarness, item: Assignment) -> None:
    """Let the first worker find out that it is in trouble."""
    broker.receive(W1, Draining(TROUBLE))
    task_id, fence = item.task.id, item.fence
    broker.receive(W1, AttemptReturned(task_id=task_id, fence=fence, cancelled=False))


def test_what_a_model_prints_and_a_node_measures_changes_no_task() -> None:
    broker = ready()
    task = broker.submit(make_request())
    before, records = broker.status(task), len(broker.records)

    broker.receive(W1, ModelLogged(dropped=3))
    broker.receive(W1, NodeMeasured(system=MEASURED))

    assert broker.status(task) == before
    assert len(broker.records) == records


def test_what_a_worker_in_trouble_gives_back_is_charged_to_nobody_however_often() -> None:
    broker = ready(limits=Limits(undelivered=2, losses=2, crashes=1))
    task = broker.submit(make_request(max_attempts=1))
    for _ in range(5):
        give_back(broker, broker.assigned()[-1])
        assert broker.status(task).state is TaskState.QUEUED
        broker.let_pass(100.0)
        assert broker.status(task).state is TaskState.QUEUED, "it waits, and is not given again"
        broker.join(W1)  # it has connected anew, and is well

    status = broker.status(task)
    counted = (status.failures, status.crashes, status.losses, status.undelivered)
    assert counted == (0, 0, 0, 0)
    assert status.excluded == ()
    broker.succeed(broker.assigned()[-1])
    assert broker.status(task).state is TaskState.SUCCEEDED


def test_while_one_worker_is_in_trouble_the_others_get_its_tasks() -> None:
    broker = ready()
    broker.submit()
    broker.join(W2)
    give_back(broker, broker.assigned()[0])
    broker.succeed(broker.assigned(W2)[0], W2)

    for name in "abc":
        broker.submit(make_request(name))
        broker.succeed(broker.assigned(W2)[-1], W2)

    assert len(broker.assigned(W1)) == 1


def test_it_is_told_what_is_wrong_with_the_only_worker_that_fits() -> None:
    broker = BrokerHarness()
    broker.greet(ALICE)
    broker.join(W2, models=())
    broker.receive(W2, Draining("its own trouble"))
    broker.join(W1)
    task = broker.submit()
    give_back(broker, broker.assigned()[0])

    assert workers(broker)[1]["trouble"] == TROUBLE
    said: Any = broker.ask("why", task_id=task.id).value
    line = TROUBLE.splitlines()[0]
    assert said["waiting_for"] == (
        f"a worker that runs toy on cpu: node/cpu-1 can run nothing now: its own trouble; "
        f"node/cpu-0 can run nothing now: {line}"
    )
    assert said["explanation"]["workers"][1]["reason"] == f"can run nothing now: {TROUBLE}"
    assert said["explanation"]["unblocked_by"] == (
        "node/cpu-0 working again, or another worker to connect"
    )
    assert said["task"]["reason"] == f"node/cpu-0 returned it: {TROUBLE}"
    assert TROUBLE in broker.heard(ALICE, Progressed)[-1].note


def test_a_task_that_is_not_to_wait_for_workers_ends_with_the_last_that_could_run_it() -> None:
    broker = ready()
    broker.join(W2)
    task = broker.submit(make_request(strict=True))
    give_back(broker, broker.assigned()[0])
    (item,) = broker.assigned(W2)

    broker.receive(W2, Draining(TROUBLE))
    broker.receive(W2, AttemptReturned(task_id=task.id, fence=item.fence, cancelled=False))

    (finished,) = broker.heard(ALICE, Finished)
    assert finished.state is TaskState.DEAD
    assert finished.error is not None
    assert finished.error.message == f"node/cpu-1 returned it: {TROUBLE}"
    broker.submit(make_request("2", strict=True))
    assert TROUBLE.splitlines()[0] in broker.heard(ALICE, Rejected)[-1].reason


def test_a_task_whose_worker_process_died_is_tried_on_another_worker() -> None:
    """One on whose machine every process dies must not make a task dead beside one that is well."""
    broker = ready()
    task = broker.submit()
    broker.join(W2)
    broker.submit(make_request("2"))
    (item,) = broker.assigned(W1)
    crash(broker, item, detail="killed by SIGSEGV\nFatal Python error\n  line 3")
    broker.let_pass(0.1)
    broker.succeed(broker.assigned(W2)[0], W2)  # so that the first has been idle for longer
    broker.let_pass(5.0)

    _, again = broker.assigned(W2)
    broker.succeed(again, W2)
    (report, _) = broker.status(task).history
    assert report.error.message == "its worker process died: killed by SIGSEGV"
    assert report.error.traceback == "Fatal Python error\n  line 3"


def cannot_load(broker: BrokerHarness, item: Assignment, worker: PeerId) -> None:
    """Let the worker say that it cannot load the model, which nothing would change there."""
    task_id, fence = item.task.id, item.fence
    broker.receive(worker, AttemptStarted(task_id=task_id, fence=fence, loading=True))
    broker.receive(worker, ModelUnloaded(model="toy", error="no weights"))
    error = TaskError(code="weights_missing", message="no weights")
    broker.receive(worker, AttemptFailed(task_id=task_id, fence=fence, error=error))


def test_a_model_that_one_worker_cannot_load_is_tried_on_another_before_its_task_fails() -> None:
    """Its machine may have the weights, or the libraries, that the first one lacks."""
    broker = ready()
    broker.join(W2)
    task = broker.submit()

    cannot_load(broker, broker.assigned(W1)[0], W1)
    broker.let_pass(5.0)

    (again,) = broker.assigned(W2)
    assert broker.status(task).failures == 1
    broker.start(again, W2)
    broker.succeed(again, W2)
    assert broker.status(task).state is TaskState.SUCCEEDED


def test_a_model_that_no_worker_can_load_fails_its_task_without_a_wait() -> None:
    broker = ready()
    alone = broker.submit()
    cannot_load(broker, broker.assigned(W1)[0], W1)
    assert broker.status(alone).state is TaskState.FAILED

    broker = ready()
    broker.join(W2)
    task = broker.submit()
    cannot_load(broker, broker.assigned(W1)[0], W1)
    broker.let_pass(2.0)
    cannot_load(broker, broker.assigned(W2)[0], W2)
    assert broker.status(task).state is TaskState.FAILED
    assert broker.status(task).error.code == "weights_missing"


def test_what_fails_as_it_runs_or_has_no_more_attempts_is_not_tried_elsewhere() -> None:
    broker = ready()
    broker.join(W2)
    bad = broker.submit()
    (item,) = broker.assigned(W1)
    broker.start(item)
    fail(broker, item, retryable=False)
    assert broker.status(bad).state is TaskState.FAILED

    once = broker.submit(make_request("2", max_attempts=1))
    cannot_load(broker, broker.assigned(W2)[0], W2)
    assert broker.status(once).state is TaskState.FAILED


def test_a_worker_in_trouble_that_leaves_is_no_longer_expected_back() -> None:
    broker = ready()
    broker.receive(W1, Draining(TROUBLE))
    broker.receive(W1, Draining())
    task = broker.submit()

    assert workers(broker)[0]["trouble"] == ""
    said: Any = broker.ask("why", task_id=task.id).value
    assert said["waiting_for"].endswith("node/cpu-0 is leaving")


def test_of_what_a_worker_says_of_its_trouble_not_everything_is_kept() -> None:
    broker = ready()

    broker.receive(W1, Draining(30_000 * "x"))

    assert len(workers(broker)[0]["trouble"]) == MAX_TROUBLE
