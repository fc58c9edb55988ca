"""What routers are shown."""

from tests.harness.scheduler_harness import (
    CATALOG,
    join,
    make_scheduler,
    make_task,
    make_worker,
    picks,
    session,
)

from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.routing import BoardView, WorkerView
from paintmq.task import TaskId
from paintmq.wire.messages import ModelLoaded, ModelUnloaded


def view_of(scheduler: Scheduler) -> BoardView:
    return scheduler._view


def worker_of(scheduler: Scheduler, name: str) -> WorkerView:
    worker = scheduler._board.get(session(name))
    assert worker is not None
    return worker


def names(workers: object) -> list[str]:
    return [worker.name for worker in workers]  # type: ignore[attr-defined]


def make_board() -> tuple[Scheduler, BoardView]:
    """Return an engine with a busy, an idle and an unfit worker, and a task of ``sized``."""
    scheduler = make_scheduler()
    join(
        scheduler,
        make_worker("busy", memory_mb=4000),
        make_worker("idle", memory_mb=4000),
        make_worker("unfit", models=("plain",)),
    )
    scheduler.claimed(session("busy"), make_task(9, "either"), now=0.0)
    scheduler.add(make_task(1, "sized", pixels=2_000_000), now=0.0)
    scheduler._view.now = 0.0
    return scheduler, view_of(scheduler)


def test_backlogs_are_shown_by_model_and_in_order_of_their_first_task() -> None:
    scheduler, board = make_board()
    scheduler.add(make_task(2, "plain", at=-60.0), now=0.0)

    assert [backlog.model for backlog in board.backlogs()] == ["plain", "sized"]
    assert [backlog.demand for backlog in board.backlogs_of("sized")] == [1]
    assert list(board.backlogs_of("either")) == []
    assert list(board.models()) == ["sized", "plain"]


def test_the_version_changes_with_the_set_of_backlogs_alone() -> None:
    scheduler = make_scheduler()
    board = view_of(scheduler)
    seen = [board.version]
    for number in (1, 2):
        scheduler.add(make_task(number), now=0.0)
        seen.append(board.version)
    for number in (1, 2):
        scheduler.remove(TaskId(f"{number:032x}"))
        seen.append(board.version)

    assert seen == [0, 1, 1, 1, 2]


def test_who_could_run_a_backlog_is_told_apart_from_who_could_start_it() -> None:
    scheduler, board = make_board()
    (backlog,) = board.backlogs_of("sized")

    assert names(board.workers()) == ["busy", "idle", "unfit"]
    assert names(board.workers_for(backlog)) == ["busy", "idle"]
    assert names(board.free_workers(backlog)) == ["idle"]
    assert board.fits(backlog, worker_of(scheduler, "busy"))
    assert not board.fits(backlog, worker_of(scheduler, "unfit"))
    scheduler.worker_draining(session("busy"), now=0.0)
    assert names(board.workers()) == ["idle", "unfit"]


def test_a_model_is_offered_where_it_is_installed_fits_and_did_not_lately_fail() -> None:
    scheduler, board = make_board()
    idle, unfit = worker_of(scheduler, "idle"), worker_of(scheduler, "unfit")
    join(scheduler, make_worker("small", memory_mb=200), make_worker("unknown", memory_mb=0))

    assert board.offers("sized", idle)
    assert not board.offers("sized", unfit)
    assert not board.offers("plain", idle), "no task has come for it yet"
    assert not board.offers("sized", worker_of(scheduler, "small"))
    assert board.offers("sized", worker_of(scheduler, "unknown"))
    failed = ModelUnloaded(model="sized", error="no room")
    scheduler.model_unloaded(session("idle"), failed, now=0.0)
    assert not board.offers("sized", idle)
    (backlog,) = board.backlogs_of("sized")
    assert names(board.workers_for(backlog)) == ["busy", "unknown"]
    assert names(board.free_workers(backlog)) == ["unknown"]


def test_copies_are_those_that_have_or_load_the_model() -> None:
    scheduler, board = make_board()
    loaded = ModelLoaded(model="sized", memory_mb=300, seconds=2.5)
    scheduler.model_loaded(session("idle"), loaded, now=0.0)
    scheduler.model_loaded(session("busy"), loaded, now=0.0)

    assert names(board.copies("sized")) == ["idle", "busy"]
    assert names(board.idle_copies("sized")) == ["idle"]
    assert not board.copies("plain")
    assert not board.idle_copies("plain")


def test_times_are_as_declared_until_they_were_measured() -> None:
    scheduler, board = make_board()
    idle = worker_of(scheduler, "idle")
    (backlog,) = board.backlogs_of("sized")
    spec = CATALOG.get("sized")

    assert board.run_seconds(backlog, idle) == board.declared_seconds(backlog)
    assert board.load_seconds("sized", idle) == board.least_load_seconds("sized")
    assert board.load_seconds("sized", idle) == spec.load_seconds
    loaded = ModelLoaded(model="sized", memory_mb=300, seconds=2.5)
    scheduler.model_loaded(session("idle"), loaded, now=0.0)
    (pick,) = picks(scheduler)
    scheduler.released(pick.session, pick.task_ids[0], ran=4.0, now=5.0)
    scheduler.add(make_task(2, "sized", pixels=2_000_000), now=5.0)
    (backlog,) = board.backlogs_of("sized")

    assert board.load_seconds("sized", idle) == board.least_load_seconds("sized") == 2.5
    assert round(board.run_seconds(backlog, idle), 9) == 4.0
    assert board.mean_run_seconds(idle) == 4.0
    assert board.arrival_rate("sized", now=5.0) > board.arrival_rate("sized", now=65.0) > 0


def test_of_a_model_that_no_task_has_come_for_nothing_is_known() -> None:
    scheduler, board = make_board()
    idle = worker_of(scheduler, "idle")

    assert board.load_seconds("plain", idle) == 0.0
    assert board.least_load_seconds("plain") == 0.0
    assert board.victims("plain", idle) == ()
    assert board.arrival_rate("plain", now=0.0) == 0.0


def test_victims_are_what_loading_would_evict() -> None:
    scheduler, board = make_board()
    loaded = ModelLoaded(model="huge", memory_mb=3900, seconds=1.0)
    scheduler.model_loaded(session("idle"), loaded, now=0.0)

    assert board.victims("sized", worker_of(scheduler, "idle")) == ["huge"]
