"""The ledger: it agrees with the machine, stays small, and goes on after a restart."""

import json
from typing import Any

import pytest
from attrs import evolve
from tests.harness.broker_harness import ALICE, W1, BrokerHarness, make_machine

from paintmq.broker.accounting import ledger as ledger_module
from paintmq.broker.accounting.happening import Note
from paintmq.broker.accounting.ledger import OTHER, Books, Ledger, read_books
from paintmq.broker.accounting.report import report, without_names
from paintmq.broker.accounting.tally import Throughput
from paintmq.broker.machine import BrokerMachine
from paintmq.broker.records import (
    BrokerBooted,
    StoredTask,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
    replay,
)
from paintmq.statistics import BrokerStatistics
from paintmq.task import PeerId, TaskError, TaskState
from paintmq.task_status import TaskStatus
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptFailed,
    AttemptStarted,
    Cancel,
    ClientGoodbye,
    Draining,
    ModelLoaded,
    ModelUnloaded,
    WorkerGoodbye,
)


class Watched:
    """A broker whose ledger is settled before each look at it."""

    def __init__(self, **settings: Any) -> None:
        self.ledger = Ledger(since=5.0)
        machine = make_machine(observe=self.ledger.waiting.append, **settings)
        self.broker = BrokerHarness(machine)
        self.broker.greet()

    def look(self) -> BrokerStatistics:
        self.ledger.settle()
        machine: BrokerMachine = self.broker.machine
        running = [(entry.request.model, entry.request.tenant) for entry in machine.leased()]
        return report(machine.statistics(now=self.broker.now), self.ledger, running)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_task_is_counted_where_it_stands_and_timed_when_it_succeeds(watched: Watched) -> None:
    broker = watched.broker
    broker.submit(make_request("a", tenant="studio"))
    queue, waits = "cpu-light", watched.look()
    broker.let_pass(2.0)
    broker.join()
    runs = watched.look()
    broker.start(broker.assigned()[0])
    broker.let_pass(3.0)
    broker.succeed(broker.assigned()[0])
    done = watched.look()

    assert (waits.queues[queue].accepted, waits.queues[queue].waiting) == (1, 1)
    assert (waits.models["toy"].waiting, waits.tenants["studio"].waiting) == (1, 1)
    assert (runs.models["toy"].running, runs.tenants["studio"].running) == (1, 1)
    assert (done.queues[queue].accepted, done.queues[queue].succeeded) == (1, 1)
    assert done.models["toy"].warm_starts == 1
    times = done.queues[queue]
    assert times.wait.p50 == pytest.approx(2.0, rel=0.03)
    assert times.run.p50 == pytest.approx(3.0, rel=0.03)
    assert times.total.total == pytest.approx(5.0)
    assert done.by_worker["node/cpu-0"].run_seconds == pytest.approx(3.0)
    assert done.tenants["studio"].run_seconds == pytest.approx(3.0)
    assert done.since == 5.0
    assert done.unaccounted == 0


def test_a_start_that_was_never_told_of_is_a_warm_one(watched: Watched) -> None:
    watched.broker.join()
    watched.broker.submit()
    watched.broker.succeed(watched.broker.assigned()[0])

    assert watched.look().models["toy"].warm_starts == 1


def test_failed_attempts_are_counted_by_what_became_of_them(watched: Watched) -> None:
    broker = watched.broker
    broker.join()
    broker.submit(make_request("a", max_attempts=1))
    ids: dict[str, Any] = {
        "task_id": broker.assigned()[0].task.id,
        "fence": broker.assigned()[0].fence,
    }
    broker.receive(W1, AttemptStarted(**ids, loading=True))
    broker.receive(W1, AttemptCrashed(**ids, alone=True, detail="killed"))
    crashed = watched.look()
    broker.let_pass(5.0)
    again = broker.assigned()[1]
    broker.start(again)
    error = TaskError(code="model_error", message="boom")
    broker.receive(W1, AttemptFailed(task_id=again.task.id, fence=again.fence, error=error))
    failed = watched.look()

    assert (crashed.retries, crashed.crashes, crashed.queues["cpu-light"].crashes) == (1, 1, 1)
    assert (crashed.models["toy"].cold_starts, crashed.models["toy"].warm_starts) == (1, 0)
    assert (crashed.by_worker["node/cpu-0"].crashes, crashed.queues["cpu-light"].waiting) == (1, 1)
    assert (failed.queues["cpu-light"].failed, failed.retries) == (1, 1)
    assert failed.tenants[""].failed == 1
    assert failed.by_worker["node/cpu-0"].failed == 2
    assert failed.unaccounted == 0


def test_a_silent_worker_costs_a_lease(watched: Watched) -> None:
    watched.broker.join()
    watched.broker.submit()
    watched.broker.start(watched.broker.assigned()[0])
    watched.broker.let_pass(100.0)

    lost = watched.look()
    assert (lost.leases_lost, lost.by_worker["node/cpu-0"].leases_lost) == (1, 1)


def test_a_dead_task_that_is_requeued_is_dead_no_more(watched: Watched) -> None:
    broker = watched.broker
    broker.join()
    request = broker.submit(make_request("a", max_attempts=1))
    error = TaskError(code="model_error", message="boom", retryable=True)
    item = broker.assigned()[0]
    broker.receive(W1, AttemptFailed(task_id=item.task.id, fence=item.fence, error=error))
    dead = watched.look()
    broker.ask("dead_requeue", task_id=request.id)
    revived = watched.look()
    broker.receive(ALICE, Cancel(request.id))
    cancelled = watched.look()

    assert dead.queues["cpu-light"].dead == 1
    assert (revived.queues["cpu-light"].dead, revived.tenants[""].failed) == (0, 0)
    assert cancelled.queues["cpu-light"].cancelled == 1
    assert [each.unaccounted for each in (dead, revived, cancelled)] == [0, 0, 0]


def test_refusals_are_counted_by_reason_and_by_the_queue_that_was_named(watched: Watched) -> None:
    watched.broker.submit(make_request("a", model="nobody's"))
    watched.broker.submit(make_request("b", queue="gpu-high"))
    watched.broker.submit(make_request("c", queue="gpu-hihg"))

    refused = watched.look()
    assert refused.rejected == 3
    assert sum(refused.rejected_by.values()) == 3
    assert refused.rejected_by["unknown_model"] == 1
    assert refused.queues["gpu-high"].rejected_by == {"no_queue_fits": 1}
    assert refused.queues["gpu-high"].rejected == 1
    assert "gpu-hihg" not in refused.queues


def test_models_in_memory_are_counted_and_workers_come_and_go(watched: Watched) -> None:
    broker = watched.broker
    broker.join()
    broker.receive(W1, ModelLoaded(model="toy", seconds=4.0, memory_mb=64))
    broker.receive(W1, ModelUnloaded(model="toy"))
    broker.receive(W1, ModelUnloaded(model="toy", error="no weights"))
    broker.receive(W1, Draining("too hot"))
    broker.receive(W1, WorkerGoodbye())
    broker.receive(ALICE, ClientGoodbye())
    noted = [(note.what, note.worker, note.queue) for note in watched.ledger.waiting]  # type: ignore[union-attr]  # no task there
    model = watched.look().models["toy"]

    names = ("joined", "loaded", "unloaded", "load failed", "draining", "left")
    assert noted == [(name, "node/cpu-0", "cpu-light") for name in names]
    assert (model.loads, model.evictions, model.load_failures) == (1, 1, 1)
    assert model.load.longest == 4.0


def test_names_of_strangers_cannot_fill_the_memory(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MOST_TENANTS", 10)
    monkeypatch.setattr(ledger_module, "MOST_CELLS", 10)
    for number in range(40):
        watched.broker.submit(make_request(f"{number:x}", tenant=f"tenant {number}"))
        watched.ledger.cell(f"queue {number % 2}", f"model {number}")

    tenants = watched.look().tenants
    assert len(tenants) == 11
    assert tenants[OTHER].accepted == 30
    assert tenants[OTHER].waiting == 30
    assert len(watched.ledger.cells) <= 13


def test_a_task_of_a_queue_that_is_not_configured_any_more_is_still_shown() -> None:
    ledger = Ledger()
    ledger.cell("gone", "toy").accepted = 1

    shown = report(BrokerStatistics(updated_at=7.0), ledger, ())
    assert shown.queues["gone"].accepted == 1
    assert shown.queues["gone"].updated_at == 7.0


def test_throughput_follows_the_rate_and_fades() -> None:
    throughput = Throughput()
    for second in range(1, 3601):
        throughput.look(2 * second, 1.0, second)
    steady = list(throughput.rates)
    throughput.look(7200, 60.0, 3660)

    assert steady == pytest.approx([2.0, 2.0, 2.0], rel=0.02)
    assert throughput.rates[0] == pytest.approx(2.0 / 2.71828, rel=0.02)
    assert throughput.rates[2] > throughput.rates[1] > throughput.rates[0]


def test_a_young_count_is_averaged_over_its_own_age() -> None:
    throughput = Throughput()
    for second in range(1, 11):
        throughput.look(5 * second, 1.0, second)

    assert throughput.rates == pytest.approx([5.0, 5.0, 5.0])


def test_looking_twice_at_one_moment_changes_nothing(watched: Watched) -> None:
    watched.broker.join()
    watched.broker.submit()
    watched.broker.succeed(watched.broker.assigned()[0])
    watched.look()
    watched.ledger.look(watched.broker.now)
    watched.ledger.look(watched.broker.now + 10)
    once = watched.look().throughput_1m
    watched.ledger.look(watched.broker.now + 10)

    assert watched.look().throughput_1m == once


def test_others_names_are_for_admins(watched: Watched) -> None:
    watched.broker.join()
    watched.broker.submit(make_request("a", tenant="studio"))
    watched.broker.succeed(watched.broker.assigned()[0])
    everything = watched.look()

    assert everything.tenants
    assert everything.by_worker
    assert without_names(everything) == evolve(everything, tenants={}, by_worker={})


# ---- over a restart ------------------------------------------------------------------------------


def test_books_go_on_with_the_records_after_them(watched: Watched) -> None:
    broker = watched.broker
    broker.join(credit=9)
    error = TaskError(code="model_error", message="boom", retryable=True)
    for number in range(8):
        broker.submit(make_request(f"{number:x}", tenant=f"t{number}", max_attempts=1))
    watched.ledger.settle()
    broker.succeed(broker.assigned()[0])
    watched.ledger.settle()
    written, books = len(broker.records), json.loads(json.dumps(watched.ledger.books(1)))
    for item in broker.assigned()[1:4]:
        ids: dict[str, Any] = {"task_id": item.task.id, "fence": item.fence}
        broker.receive(W1, AttemptStarted(**ids, loading=True))
        broker.start(item)
    broker.succeed(broker.assigned()[1])
    item = broker.assigned()[2]
    broker.receive(W1, AttemptFailed(task_id=item.task.id, fence=item.fence, error=error))
    broker.submit(make_request("c", tenant="late"))

    later = Ledger()
    earlier = read_books(books)
    assert earlier is not None
    later.take_over(earlier)
    stored = replay(broker.records)
    known = {task_id: task.request for task_id, task in stored.items()}
    later.replay(broker.records[written:], known)
    off = later.reconcile(stored.values())

    watched.ledger.settle()
    watched.ledger.cell("cpu-light", "toy").throughput.seen = 2  # what was before is no news
    assert off == 0
    assert later.books(0) == watched.ledger.books(0)


def test_what_was_forgotten_meanwhile_still_counts(watched: Watched) -> None:
    """Its record of acceptance is before the books, and the journal holds the task no more."""
    broker = watched.broker
    broker.join()
    broker.submit()
    watched.ledger.settle()
    written, books = len(broker.records), watched.ledger.books(1)
    broker.succeed(broker.assigned()[0])

    later = Ledger()
    later.take_over(read_books(books) or Books())
    later.replay(broker.records[written:], {})
    later.reconcile([])
    shown = report(broker.machine.statistics(now=broker.now), later, ())

    assert (shown.queues["cpu-light"].succeeded, shown.queues["cpu-light"].accepted) == (1, 1)
    assert shown.accepted == 1


@pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.SUCCEEDED, TaskState.DEAD])
def test_without_books_the_tasks_of_the_journal_are_counted(
    watched: Watched, state: TaskState
) -> None:
    watched.broker.submit()
    (task,) = replay(watched.broker.records).values()
    tasks = [StoredTask(task.request, task.status.changed(state=state))]
    ledger = Ledger()

    assert ledger.reconcile(tasks) > 0
    assert ledger.reconcile(tasks) == 0
    cell = ledger.cell("cpu-light", "toy")
    assert (cell.accepted, cell.unfinished) == (1, int(state is TaskState.QUEUED))


@pytest.mark.parametrize("odd", [None, [], {}, {"format": 99}])
def test_books_of_another_version_are_none(odd: Any) -> None:
    assert read_books(odd) is None


def test_a_note_of_a_worker_alone_counts_nothing() -> None:
    ledger = Ledger()
    ledger.waiting.append(Note("joined", worker=PeerId(b"w").decode()))
    assert len(ledger.settle()) == 1
    assert not ledger.workers


def test_a_task_that_goes_to_another_queue_is_counted_there() -> None:
    ledger, request = Ledger(), make_request("a")
    there = TaskStatus(state=TaskState.QUEUED, queue="there", accepted_at=1.0, rank=1.0)
    ledger.waiting += [
        ("accept", request, there.changed(queue="here"), TaskState.SUBMITTED),
        Note("moved", queue="here", model=request.model),
        ("move", request, there, TaskState.QUEUED),
        ("cancel", request, there.changed(state=TaskState.CANCELLED), TaskState.QUEUED),
    ]
    ledger.settle()

    counts = {name: (cell.accepted, cell.cancelled) for (name, _), cell in ledger.cells.items()}
    assert counts == {"here": (0, 0), "there": (1, 1)}


def test_a_requeued_dead_letter_is_replayed_too_and_other_records_count_nothing() -> None:
    ledger, request = Ledger(), make_request("a")
    dead = TaskStatus(state=TaskState.DEAD, queue="q", accepted_at=1.0, rank=1.0)
    ledger.replay(
        [
            BrokerBooted(1, 1.0),
            TaskAccepted(request, dead.changed(state=TaskState.QUEUED)),
            TaskChanged(request.id, "finish", dead),
            TaskChanged(request.id, "revive", dead.changed(state=TaskState.QUEUED)),
            TaskChanged(request.id, "requeue", dead.changed(state=TaskState.QUEUED)),
            TaskChanged(request.id, "finish", dead.changed(state=TaskState.EXPIRED)),
            TaskPurged(request.id),
        ],
        {},
    )

    cell = ledger.cell("q", request.model)
    assert (cell.accepted, cell.dead, cell.expired, cell.unfinished) == (1, 0, 1, 0)
    assert cell.retries == 1
