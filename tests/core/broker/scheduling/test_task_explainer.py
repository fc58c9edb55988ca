"""What a waiting task waits for, in words: every kind of waiting."""

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve
from tests.harness.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    picks,
    session,
)

from paintmq.broker.scheduling.explanation import Explanation, WorkerVerdict
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.broker.scheduling.task_explainer import MOST_WORKERS
from paintmq.routing import BacklogView, BoardView, Router, WorkerView
from paintmq.task import TaskId
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import ModelUnloaded

ONE = TaskId(f"{1:032x}")
QUEUES = ("cpu-light",)


class Choosy(Router):
    """Wants nobody, and says why."""

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        return None

    def explain(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> Mapping[str, float | str]:
        return {"load_seconds": 12, "waits": "a warm copy is sooner"}


class Speechless(PlainRouter):
    def explain(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> Mapping[str, float | str]:
        raise ZeroDivisionError("no words")


def explain(scheduler: Scheduler, *, now: float = 0.0, number: int = 1) -> Explanation:
    return scheduler.explain(TaskId(f"{number:032x}"), now=now)


def verdicts(explanation: Explanation) -> dict[str, WorkerVerdict]:
    return {verdict.worker: verdict for verdict in explanation.workers}


def waiting(*workers: Any, router: Router | None = None, **task: Any) -> Scheduler:
    """Return an engine with task 1 and these workers, where nothing was given away yet."""
    scheduler = make_scheduler(router)
    join(scheduler, *workers)
    scheduler.add(make_task(1, **task), now=0.0)
    return scheduler


def test_without_a_worker_it_waits_for_one() -> None:
    scheduler = waiting()

    found = explain(scheduler)

    assert found.waiting_for == "a worker that runs plain on cpu: no worker is connected"
    assert found.unblocked_by == "a worker that offers plain to connect"
    assert (found.position, found.backlog, found.workers) == (1, 1, ())
    assert (found.model, found.queue, found.router) == ("plain", "cpu-light", "PlainRouter")
    assert scheduler.waiting_for(ONE, now=0.0) == found.waiting_for


def test_each_kind_of_unfit_worker_is_named_with_what_it_lacks_and_the_rest_counted() -> None:
    workers = [make_worker(f"w{number}", memory_mb=number + 1) for number in range(5)]
    scheduler = waiting(*workers, model="sized", pixels=5_000_000)

    found = explain(scheduler)

    assert found.waiting_for == (
        "a worker that runs sized on cpu: w0 needs 5000 MB memory, has 1; "
        "w1 needs 5000 MB memory, has 2; w2 needs 5000 MB memory, has 3 (and 2 more)"
    )
    assert found.unblocked_by == "a larger worker to connect"
    assert {verdict.verdict for verdict in found.workers} == {"unfit"}


def test_where_nobody_offers_the_model_a_larger_worker_would_not_help() -> None:
    scheduler = waiting(make_worker("w", models=("sized",)))

    found = explain(scheduler)

    assert found.waiting_for.endswith(
        "w does not offer plain: no installed plugin provides it there"
    )
    assert found.unblocked_by == "a worker that offers plain to connect"


def test_a_worker_that_leaves_is_no_help() -> None:
    scheduler = waiting(make_worker("w"))
    scheduler.worker_draining(session("w"), now=0.0)

    found = explain(scheduler)

    assert found.waiting_for == "a worker that runs plain on cpu: w is leaving"
    assert found.unblocked_by == "a worker that offers plain to connect"
    assert verdicts(found)["w"].reason == "is leaving"


def test_the_fitting_workers_come_first_and_not_all_are_listed() -> None:
    unfit = [make_worker(f"u{number}", models=()) for number in range(MOST_WORKERS)]
    scheduler = waiting(*unfit, make_worker("fit"))

    found = explain(scheduler)

    assert len(found.workers) == MOST_WORKERS
    assert found.workers[0].worker == "fit"


def test_a_task_that_is_about_to_start_waits_for_nothing() -> None:
    scheduler = waiting(make_worker("w"))

    found = explain(scheduler)

    assert (found.waiting_for, found.unblocked_by) == ("", "nothing: it is about to start")
    assert verdicts(found)["w"] == WorkerVerdict(worker="w", verdict="idle", terms={"score": 1.0})
    assert scheduler.waiting_for(ONE, now=0.0) == ""


def test_where_all_are_busy_it_says_who_is_free_soonest() -> None:
    scheduler = waiting(make_worker("a"), make_worker("b"))
    scheduler.add(make_task(2), now=0.0)
    picks(scheduler)
    for name, started in (("a", 0.0), ("b", 0.5)):
        worker = scheduler._board.get(session(name))
        assert worker is not None
        worker.loading.clear()
        worker.holdings[0].expected = 1.0
        worker.holdings[0].started_at = started
    scheduler.add(make_task(3), now=0.75)

    found = explain(scheduler, now=0.75, number=3)

    assert found.waiting_for == "a worker to become free"
    assert found.unblocked_by == "a becoming free, in about 0.2 s"
    assert verdicts(found)["b"] == WorkerVerdict(
        worker="b", verdict="busy", reason="is busy with plain", free_in=0.75
    )


def test_a_pause_between_attempts_is_told_with_its_end() -> None:
    scheduler = waiting(make_worker("w"), not_before=30.0)

    found = explain(scheduler, now=10.0)

    assert found.waiting_for == "its next attempt, in 20.0 s"
    assert found.unblocked_by == "the end of its pause, in 20.0 s"
    assert (found.position, found.backlog) == (1, 1)
    assert verdicts(found)["w"].verdict == "idle"


def test_a_worker_that_failed_to_load_the_model_is_asked_again_later() -> None:
    scheduler = waiting(make_worker("w"))
    failed = ModelUnloaded(model="plain", error="no room")
    scheduler.model_unloaded(session("w"), failed, now=0.0)

    found = explain(scheduler, now=2.0)

    assert verdicts(found)["w"].reason == "failed to load plain; asked again in 3 s"
    assert found.waiting_for == "a worker to become free"
    assert found.unblocked_by == "a worker becoming ready for it"


def test_a_worker_that_failed_the_task_is_avoided_while_there_is_another() -> None:
    scheduler = waiting(make_worker("bad"), make_worker("good"), excluded=("bad",))

    found = verdicts(explain(scheduler))

    assert found["bad"].reason == "failed this task before; another worker is preferred"
    assert found["good"].verdict == "idle"


def test_a_router_that_rather_waits_says_why() -> None:
    scheduler = waiting(make_worker("w"), router=Choosy())

    found = explain(scheduler)

    assert found.waiting_for == "a better worker than w: a warm copy is sooner"
    assert found.unblocked_by == "a worker becoming ready for it"
    assert verdicts(found)["w"] == WorkerVerdict(
        worker="w",
        verdict="avoided",
        reason="a warm copy is sooner",
        terms={"load_seconds": 12.0, "waits": "a warm copy is sooner"},
    )


def test_a_router_that_cannot_explain_itself_harms_nobody() -> None:
    scheduler = waiting(make_worker("w"), router=Speechless())

    assert verdicts(explain(scheduler))["w"].reason == (
        "router Speechless cannot explain itself: ZeroDivisionError: no words"
    )


def test_beyond_its_tenants_window_a_task_waits_for_its_turn() -> None:
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("w"))
    for number in (1, 2, 3):
        scheduler.add(make_task(number, at=number, tenant="acme"), now=0.0)

    found = explain(scheduler, number=3)

    assert found.waiting_for == "its turn among the tasks of tenant acme"
    assert found.unblocked_by == "the end of another task of tenant acme"
    assert (found.position, found.backlog) == (3, 3)
    assert verdicts(found)["w"].verdict == "idle"
    assert explain(scheduler, number=1).position == 1


def test_where_the_whole_backlog_is_parked_no_score_is_asked_for() -> None:
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("a"), make_worker("b", models=("sized",)))
    scheduler.add(make_task(1, "plain", tenant="acme"), now=0.0)
    scheduler.add(make_task(2, "sized", at=2.0, tenant="acme"), now=0.0)

    found = explain(scheduler, number=2)

    assert verdicts(found)["b"] == WorkerVerdict(worker="b", verdict="idle")


def test_what_none_could_run_is_said_of_each_kind_once() -> None:
    scheduler = make_scheduler()
    checked = make_task(1).checked
    assert scheduler.why_none_could(checked, QUEUES) == "no worker is connected"
    assert not scheduler.could_run(checked, QUEUES)

    join(scheduler, evolve(make_worker("gpu"), device="cuda"))
    assert scheduler.why_none_could(checked, QUEUES) == "gpu runs cuda tasks, needs cpu"
    join(scheduler, make_worker("cpu"))
    assert scheduler.could_run(checked, QUEUES)


@pytest.mark.parametrize("now", [0.0, 40.0])
def test_a_pause_is_never_told_to_end_in_the_past(now: float) -> None:
    scheduler = waiting(make_worker("w"), not_before=30.0)

    assert scheduler.waiting_for(ONE, now=now) == f"its next attempt, in {max(0, 30 - now):.1f} s"
