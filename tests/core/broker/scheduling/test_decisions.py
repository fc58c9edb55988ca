"""Decisions: what a router may say, what comes of it when it is wrong, and changing it."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from attrs import evolve
from tests.harness.scheduler_harness import (
    CATALOG,
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
    session,
)

from paintmq.broker.scheduling.decisions import PRELOAD_PATIENCE
from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.routing import BacklogView, BoardView, QueueView, Router, WorkerView
from paintmq.task import TaskId
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import ModelLoaded, ModelUnloaded, ResidentModel
from paintmq_routers.priority_first import PriorityFirst


def id_of(number: int) -> TaskId:
    return TaskId(f"{number:032x}")


# ---- routers that misbehave ----------------------------------------------------------------------


class Raising(Router):
    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        raise RuntimeError("broken")


class Refusing(Router):
    recheck_after = 1.0
    relents_at = 10.0

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        return 1.0 if now >= self.relents_at else None


class Answering(PlainRouter):
    """Answers what it was made with, whatever it is asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def _answer(self, question: str, otherwise: Any) -> Any:
        answer = self.answers.get(question, otherwise)
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def choose_backlog(
        self, worker: WorkerView, waiting: Iterable[BacklogView], board: BoardView, *, now: float
    ) -> BacklogView | None:
        first = next(iter(waiting), None)
        chosen: BacklogView | None = self._answer("backlog", first)
        return chosen

    def choose_worker(
        self, backlog: BacklogView, free: Iterable[WorkerView], board: BoardView, *, now: float
    ) -> WorkerView | None:
        chosen: WorkerView | None = self._answer("worker", next(iter(free)))
        return chosen

    def choose_queue(self, queues: Sequence[QueueView], *, now: float) -> str:
        return str(self._answer("queue", queues[-1].name))

    def choose_preload(self, board: BoardView, *, now: float) -> tuple[WorkerView, str] | None:
        chosen: tuple[WorkerView, str] | None = self._answer("preload", None)
        return chosen


def test_a_router_that_raises_delays_nobody() -> None:
    scheduler = make_scheduler(Raising())
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("w"))

    assert numbers(picks(scheduler)) == [1]
    assert scheduler.faults >= 1
    assert scheduler.last_fault == "RuntimeError: broken"


def test_a_router_that_raises_for_a_free_worker_delays_nobody() -> None:
    scheduler = make_scheduler(Answering(worker=RuntimeError("broken")))
    join(scheduler, make_worker("w"))
    picks(scheduler)  # the worker was asked about, with nothing to do
    scheduler.add(make_task(1), now=0.0)

    assert numbers(picks(scheduler)) == [1]
    assert scheduler.last_fault == "RuntimeError: broken"


def test_a_backlog_the_worker_may_not_take_is_a_fault_and_costs_nobody_anything() -> None:
    router = Answering()
    scheduler = make_scheduler(router)
    scheduler.add(make_task(1, "either"), now=0.0)
    (unfit,) = scheduler._view.backlogs()
    router.answers["backlog"] = unfit
    scheduler.add(make_task(2), now=0.0)
    join(scheduler, make_worker("w", models=("plain",)))

    assert numbers(picks(scheduler)) == [2]
    assert scheduler.last_fault == "LookupError: it may not take either"


@pytest.mark.parametrize("fault", ["busy", "unfit"])
def test_a_worker_that_cannot_start_the_task_is_a_fault_and_costs_nobody_anything(
    fault: str,
) -> None:
    router = Answering()
    scheduler = make_scheduler(router)
    join(scheduler, make_worker("busy"), make_worker("unfit", models=("sized",)))
    scheduler.add(make_task(1), now=0.0)
    picks(scheduler)
    join(scheduler, make_worker("good"))
    picks(scheduler)
    router.answers["worker"] = scheduler._board.get(session(fault))
    scheduler.add(make_task(2), now=0.0)

    (pick,) = picks(scheduler)
    assert pick.session == session("good")
    words = {"busy": "busy is not free", "unfit": "unfit may not take it"}[fault]
    assert scheduler.last_fault == f"LookupError: {words}"


def test_a_router_that_refused_is_asked_again() -> None:
    scheduler = make_scheduler(Refusing())
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("w"))
    now = 0.0
    while not (found := picks(scheduler, now=now)):
        wakeup = scheduler.next_wakeup(now=now)
        assert wakeup is not None
        assert wakeup > now
        now = wakeup

    assert now == 10.0
    assert numbers(found) == [1]


def test_an_idle_worker_beside_a_task_it_could_take_is_noticed() -> None:
    """I21, as the simulation checks it."""
    scheduler = make_scheduler(PlainRouter())
    assert scheduler.conserves_work(now=0.0)
    scheduler.add(make_task(1), now=0.0)
    assert scheduler.conserves_work(now=0.0)
    join(scheduler, make_worker("w"))
    assert not scheduler.conserves_work(now=0.0)

    assert numbers(picks(scheduler)) == [1]
    assert scheduler.conserves_work(now=0.0)


def test_a_worker_may_idle_while_the_router_is_to_be_asked_again() -> None:
    scheduler = make_scheduler(Refusing())
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("w"))
    assert picks(scheduler, now=9.5) == []

    assert scheduler.conserves_work(now=10.2), "it would take the task now, and is asked at 10.5"


def test_a_task_that_was_refused_a_free_worker_is_asked_for_again_too() -> None:
    scheduler = make_scheduler(Refusing())
    join(scheduler, make_worker("w"))
    picks(scheduler)
    for number in (1, 2):
        scheduler.add(make_task(number, at=number), now=float(number))
        assert picks(scheduler, now=float(number)) == []

    assert scheduler.next_wakeup(now=2.0) == 3.0, "a second after it refused last"
    assert numbers(picks(scheduler, now=10.0)) == [1]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (RuntimeError("broken"), "RuntimeError: broken"),
        ("nowhere", "LookupError: 'nowhere' is none of the queues"),
    ],
)
def test_a_queue_that_cannot_be_is_a_fault_and_the_first_takes_the_task(
    answer: Any, fault: str
) -> None:
    scheduler = make_scheduler(Answering(queue=answer))
    checked = make_task(1).checked

    assert scheduler.choose_queue(checked, ["a", "b"], now=0.0) == "a"
    assert scheduler.last_fault == fault
    good = make_scheduler(Answering())
    assert good.choose_queue(checked, ["a", "b"], now=0.0) == "b"
    assert good.faults == 0


# ---- loading ahead -------------------------------------------------------------------------------


def ahead(**worker: Any) -> tuple[Scheduler, Answering]:
    """Return an engine that knows of model ``plain``, and its router; a worker is connected."""
    router = Answering()
    scheduler = make_scheduler(router)
    join(scheduler, make_worker("w", **worker))
    scheduler.add(make_task(1), now=0.0)
    scheduler.remove(id_of(1))
    router.answers["preload"] = (scheduler._board.get(session("w")), "plain")
    return scheduler, router


def loading(scheduler: Scheduler) -> list[str]:
    worker = scheduler._board.get(session("w"))
    assert worker is not None
    scheduler.check_invariants()
    return list(worker.loading)


def test_a_model_is_loaded_ahead_once() -> None:
    scheduler, _ = ahead()

    assert scheduler.next_preload(now=0.0) == (session("w"), "plain")
    assert loading(scheduler) == ["plain"]
    assert scheduler.next_preload(now=0.0) is None, "it is on its way"
    loaded = ModelLoaded(model="plain", memory_mb=300, seconds=1.0)
    scheduler.model_loaded(session("w"), loaded, now=1.0)
    assert scheduler.next_preload(now=1.0) is None, "it is there"


@pytest.mark.parametrize("answer", [RuntimeError("broken"), "nonsense", (None, "plain")])
def test_a_preload_that_makes_no_sense_is_a_fault(answer: Any) -> None:
    scheduler, router = ahead()
    router.answers["preload"] = answer

    assert scheduler.next_preload(now=0.0) is None
    assert scheduler.faults == 1


def test_nothing_is_loaded_ahead_where_it_could_not_be_used() -> None:
    scheduler, router = ahead(models=("sized",))
    assert scheduler.next_preload(now=0.0) is None, "the worker does not offer the model"

    router.answers["preload"] = (router.answers["preload"][0], "no such model")
    assert scheduler.next_preload(now=0.0) is None

    scheduler, _ = ahead()
    scheduler.worker_draining(session("w"), now=0.0)
    assert scheduler.next_preload(now=0.0) is None, "the worker is leaving"
    scheduler.worker_left(session("w"), now=0.0)
    assert scheduler.next_preload(now=0.0) is None, "the worker is gone"
    assert scheduler.faults == 0


def test_a_preload_that_nobody_confirms_is_forgotten_after_a_while() -> None:
    scheduler, router = ahead()
    scheduler.next_preload(now=0.0)
    router.answers["preload"] = None
    seconds = CATALOG.get("plain").load_seconds
    due = 2 * seconds + PRELOAD_PATIENCE
    assert scheduler.next_wakeup(now=0.0) == due

    picks(scheduler, now=due - 0.1)
    assert loading(scheduler) == ["plain"]
    picks(scheduler, now=due)
    assert loading(scheduler) == []


def test_a_preload_is_not_forgotten_while_its_task_waits_for_it() -> None:
    scheduler, router = ahead()
    scheduler.next_preload(now=0.0)
    router.answers["preload"] = None
    scheduler.add(make_task(2), now=1.0)
    assert numbers(picks(scheduler, now=1.0)) == [2]

    picks(scheduler, now=1000.0)
    assert loading(scheduler) == ["plain"]


def test_a_preload_on_a_worker_that_left_is_of_no_consequence() -> None:
    scheduler, router = ahead()
    scheduler.next_preload(now=0.0)
    router.answers["preload"] = None
    scheduler.worker_left(session("w"), now=1.0)

    assert picks(scheduler, now=1000.0) == []
    assert scheduler.next_wakeup(now=1000.0) is None


def test_a_worker_that_left_while_it_was_not_to_be_asked_is_asked_no_more() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    failed = ModelUnloaded(model="plain", error="no room")
    scheduler.model_unloaded(session("w"), failed, now=0.0)
    scheduler.worker_left(session("w"), now=1.0)

    assert scheduler.next_wakeup(now=1.0) == 5.0
    assert picks(scheduler, now=5.0) == []
    assert scheduler.next_wakeup(now=5.0) is None


# ---- batches and early tasks ---------------------------------------------------------------------


def test_an_idle_copy_elsewhere_is_left_its_share_of_a_batch() -> None:
    scheduler = make_scheduler()
    resident = (ResidentModel(model="batching", memory_mb=300),)
    for name in ("a", "b"):
        join(scheduler, evolve(make_worker(name), resident=resident))
    for number in range(4):
        scheduler.add(make_task(number, "batching", pixels=7), now=0.0)

    assert [len(pick.task_ids) for pick in picks(scheduler)] == [2, 2]


# ---- changing it ---------------------------------------------------------------------------------


def test_replacing_the_router_loses_no_task_and_follows_its_order() -> None:
    scheduler = make_scheduler(tenant_window=2)
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(0), now=0.0)
    found = picks(scheduler)
    scheduler.add(make_task(1, at=0.0), now=0.0)
    for number in range(2, 6):
        scheduler.add(make_task(number, at=300.0 + number, priority=1, tenant="t"), now=306.0)
    scheduler.replace_router(PriorityFirst(), now=306.0)
    scheduler.check_invariants()

    order: list[int] = []
    while found:
        for pick in found:
            scheduler.released(pick.session, pick.task_ids[0], ran=1.0, now=306.0)
        found = picks(scheduler, now=306.0)
        order += numbers(found)
    assert order == [2, 3, 4, 5, 1]
