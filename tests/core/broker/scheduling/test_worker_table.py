"""Who is connected, what each holds, and what is in whose memory."""

from typing import Any

import pytest
from attrs import evolve
from tests.harness.scheduler_harness import make_scheduler, make_task, make_worker, session

from paintmq.broker.scheduling.backlog import WaitingTask
from paintmq.broker.scheduling.filters import profile_of
from paintmq.broker.scheduling.worker import Holding, Worker
from paintmq.broker.scheduling.worker_table import WorkerTable
from paintmq.task import DeviceKind, TaskId
from paintmq.wire.messages import ResidentModel


def make_board(*names: str, **worker: Any) -> tuple[WorkerTable, list[Worker]]:
    board = WorkerTable()
    workers = []
    for name in names:
        hello = make_worker(name, **worker)
        profile = profile_of(hello)
        if board.number_of(profile) is None:
            board.add_profile(profile)
        workers.append(board.join(session(name), hello, profile, now=0.0))
    return board, workers


def make_waiting_task(number: int = 1) -> WaitingTask:
    return make_scheduler()._line.make_task(make_task(number), 0.0)


def give(board: WorkerTable, worker: Worker, number: int = 1, **changes: Any) -> Holding:
    """Let the worker hold a batch of one task that should run for ten seconds."""
    device: DeviceKind = "cpu"
    values: dict[str, Any] = {"model": "plain", "suspect": False, "expected": 10.0}
    holding = Holding(device=device, **(values | changes))
    task = make_waiting_task(number)
    holding.tasks[task.id] = task
    board.give(worker, holding)
    return holding


def keep(board: WorkerTable, worker: Worker, model: str, memory_mb: int, **more: Any) -> None:
    now = more.pop("now", 0.0)
    board.resident(worker, ResidentModel(model=model, memory_mb=memory_mb, **more), now=now)


def test_a_worker_says_of_itself_what_its_hello_said() -> None:
    _, (worker,) = make_board("w", memory_mb=2000)

    assert (worker.name, worker.node, worker.queue) == ("w", "node", "cpu-light")
    assert (worker.device, worker.device_name, worker.memory_mb) == ("cpu", "", 2000)
    gpu = evolve(worker.hello, device="cuda", gpu_memory_mb=8000)
    assert Worker(gpu, session("g"), 1, 0, 0.0).memory_mb == 8000


def test_a_worker_is_free_after_what_it_holds_runs_and_loads() -> None:
    board, (worker,) = make_board("w", credit=3)
    assert worker.free_at(5.0) == 5.0

    running = give(board, worker)
    running.started_at = 2.0
    assert worker.free_at(5.0) == 12.0
    board.will_load(worker, "other", 100, ready_at=20.0)
    give(board, worker, 2, model="other")
    assert worker.free_at(5.0) == 30.0, "the second batch waits for its model first"
    # A run that has outlasted its estimate takes a share of its age longer.
    assert running.expected == 10.0
    assert worker.free_at(102.0) == pytest.approx(102.0 + 15.0 + 10.0)


def test_models_worth_least_are_evicted_but_none_that_is_pinned_or_in_use() -> None:
    board, (worker,) = make_board("w", memory_mb=1000)
    keep(board, worker, "pinned", 100, pinned=True, now=0.0)
    keep(board, worker, "plain", 100, now=1.0)
    for number, model in enumerate(("old", "older-than-new", "new")):
        keep(board, worker, model, 250, now=2.0 + number)
    give(board, worker)

    assert worker.victims(50) == []
    assert worker.victims(100) == ["old"], "used alike: the one that was unused longest"
    assert worker.victims(400) == ["old", "older-than-new"]
    assert worker.victims(5000) == ["old", "older-than-new", "new"]
    worker.count("old")
    assert worker.victims(400) == ["older-than-new", "new"]
    for model in ("older-than-new", "new"):
        worker.count(model)
    worker.took("new", 0.1)
    assert worker.victims(100) == ["new"]
    board.check()


def test_where_memory_is_unknown_nothing_is_evicted() -> None:
    board, (worker,) = make_board("w", memory_mb=0)
    keep(board, worker, "plain", 100)

    assert worker.victims(1_000_000) == []


def test_what_will_be_loaded_counts_at_once_and_so_does_what_it_evicts() -> None:
    board, (worker,) = make_board("w", memory_mb=1000)
    keep(board, worker, "old", 900)

    board.will_load(worker, "new", 400, ready_at=3.0)
    board.will_load(worker, "new", 400, ready_at=4.0)  # said again: the memory is taken once

    assert (list(worker.resident), worker.loading, worker.memory_used_mb) == ([], {"new": 4.0}, 400)
    assert list(board.copies("new")) == [session("w")]
    assert not board.copies("old")
    keep(board, worker, "new", 450)
    board.will_load(worker, "new", 400, ready_at=5.0)
    assert (worker.loading, worker.memory_used_mb) == ({}, 450), "what is there is not loaded again"
    board.check()


def test_a_model_that_no_task_wants_any_more_is_on_its_way_no_more() -> None:
    board, (worker,) = make_board("w", credit=2)
    board.will_load(worker, "plain", 100, ready_at=9.0)
    first, second = give(board, worker, 1), give(board, worker, 2)

    board.take_back(worker, next(iter(first.tasks)), now=1.0)
    assert "plain" in worker.loading, "the other batch wants it"
    board.take_back(worker, next(iter(second.tasks)), now=1.0)
    assert "plain" not in worker.loading
    assert board.take_back(worker, TaskId("unknown"), now=1.0) is None
    board.check()


def test_a_batch_is_one_credit_until_its_last_task_is_gone() -> None:
    board, (worker,) = make_board("w")
    holding = give(board, worker)
    other = make_waiting_task(2)
    holding.tasks[other.id] = other

    board.take_back(worker, other.id, now=1.0)
    assert worker.holdings == [holding]
    board.take_back(worker, next(iter(holding.tasks)), now=2.0)
    assert (worker.idle, worker.idle_since) == (True, 2.0)
    board.check()


def test_a_leaving_worker_is_listed_and_given_nothing() -> None:
    board, (worker,) = make_board("w")
    keep(board, worker, "plain", 100)
    holding = give(board, worker)
    board.drain(worker)

    assert list(board.all()) == [worker]
    assert list(board.live()) == []
    assert not board.has_live(1)
    board.take_back(worker, next(iter(holding.tasks)), now=1.0)
    assert list(board.idle_of(1)) == []
    board.check()
    assert board.leave(session("w")) is worker
    assert board.leave(session("w")) is None
    assert not board.copies("plain")


def test_idle_workers_of_several_kinds_come_longest_idle_first() -> None:
    board = WorkerTable()
    for number, (name, memory) in enumerate((("a", 1), ("b", 2), ("c", 1))):
        hello = make_worker(name, memory_mb=memory)
        profile = profile_of(hello)
        if board.number_of(profile) is None:
            board.add_profile(profile)
        board.join(session(name), hello, profile, now=float(number))

    assert [worker.name for worker in board.idle_of(0b11)] == ["a", "b", "c"]
    assert [worker.name for worker in board.idle_of(0b01)] == ["a", "c"]
    assert [worker.name for worker in board.live_of(0b10)] == ["b"]
    assert board.live_in(0) == 2
    assert board.live_in(7) == 0


def test_pauses_after_failures_to_load_double_and_end_with_a_success() -> None:
    board, (worker,) = make_board("w")

    pauses = [board.failed_to_load(worker, "plain", now=0.0) for _ in range(8)]

    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert worker.cooling("plain", 299.9)
    assert not worker.cooling("plain", 300.0)
    keep(board, worker, "plain", 100)
    assert not worker.cooling("plain", 0.0)


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"holdings": 2}, False),
        ({"holdings": 0}, False),
        ({"draining": True}, False),
        ({"suspect": True}, False),
        ({"expected": 0.3}, False),
    ],
)
def test_a_task_is_sent_early_only_to_one_that_is_briefly_busy(
    changes: dict[str, Any], may: bool
) -> None:
    board, (worker,) = make_board("w", credit=2)
    for number in range(changes.get("holdings", 1)):
        holding = give(
            board,
            worker,
            number,
            expected=changes.get("expected", 0.1),
            suspect=changes.get("suspect", False),
        )
        holding.started_at = 0.0
    worker.draining = changes.get("draining", False)

    assert worker.may_prefetch(0.0) is may


def test_an_index_that_is_off_is_found() -> None:
    board, (worker,) = make_board("w")
    keep(board, worker, "plain", 100)
    del worker.resident["plain"]

    with pytest.raises(AssertionError, match="plain: no copy"):
        board.check()
