"""Routers that misbehave, and changing them."""

from paintmq.routing import BacklogView, BoardView, Router, WorkerView
from paintmq.testing.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
)
from paintmq_routers.priority_first import PriorityFirst


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


def test_a_router_that_raises_delays_nobody() -> None:
    scheduler = make_scheduler(Raising())
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("w"))

    assert numbers(picks(scheduler)) == [1]
    assert scheduler.faults >= 1
    assert scheduler.last_fault == "RuntimeError: broken"


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
