"""How many tasks of one tenant take part at a time."""

from collections.abc import Iterable

import pytest
from tests.harness.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
    session,
)

from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.routing import BacklogView, BoardView, Router, WorkerView
from paintmq.task import TaskId
from paintmq_routers.least_loaded import LeastLoaded


def test_a_tenant_that_dumps_tasks_leaves_room_for_others() -> None:
    scheduler = make_scheduler(tenant_window=4)
    for number in range(50):
        scheduler.add(make_task(number, at=0.0, tenant="dumper"), now=0.0)
    join(scheduler, make_worker("w"))
    picks(scheduler)
    scheduler.add(make_task(99, at=1.0, tenant="other"), now=1.0)
    order: list[int] = []
    running = TaskId(f"{0:032x}")
    for _ in range(6):
        scheduler.released(session("w"), running, ran=1.0, now=2.0)
        order += numbers(picks(scheduler, now=2.0))
        running = TaskId(f"{order[-1]:032x}")

    assert order == [1, 2, 3, 99, 4, 5], "a window of 4: the one that ran and three more"


def test_no_worker_idles_for_the_sake_of_a_window() -> None:
    scheduler = make_scheduler(tenant_window=2)
    join(scheduler, *(make_worker(f"w{number}") for number in range(5)))
    for number in range(7):
        scheduler.add(make_task(number, at=number, tenant="t"), now=0.0)

    assert numbers(picks(scheduler)) == [0, 1, 2, 3, 4]


def test_a_task_beyond_the_window_is_started_at_once_where_a_worker_idles_already() -> None:
    """Invariant I21."""
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("a"), make_worker("b"))
    assert picks(scheduler) == []  # both were asked, and nothing has come
    for number in (1, 2):
        scheduler.add(make_task(number, at=number, tenant="t"), now=float(number))
        assert numbers(picks(scheduler, now=float(number))) == [number]


def test_a_worker_that_becomes_free_takes_a_parked_task_rather_than_idle() -> None:
    """Invariant I21."""
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("a"), make_worker("b"))
    for number, tenant in ((1, "t"), (2, ""), (3, "t")):
        scheduler.add(make_task(number, at=number, tenant=tenant), now=0.0)
    assert numbers(picks(scheduler)) == [1, 2]

    scheduler.released(session("b"), TaskId(f"{2:032x}"), ran=1.0, now=1.0)
    assert numbers(picks(scheduler, now=1.0)) == [3]


def test_a_task_that_waits_again_while_its_lost_attempt_holds_a_worker_is_let_in_by_its_end() -> (
    None
):
    """The lease was lost, so the task waits; the silent worker may still be at it, and says so."""
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("silent"))
    scheduler.add(make_task(1, tenant="t"), now=0.0)
    assert numbers(picks(scheduler)) == [1]
    scheduler.add(make_task(1, tenant="t"), now=1.0)
    scheduler.add(make_task(2, at=1.0, tenant="t"), now=1.0)

    scheduler.released(session("silent"), TaskId(f"{1:032x}"), ran=None, now=2.0)

    scheduler.check_invariants()
    assert numbers(picks(scheduler, now=2.0)) == [1]


def test_a_better_ranked_task_of_a_tenant_takes_the_place_of_a_worse_one() -> None:
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(0), now=0.0)
    picks(scheduler)
    scheduler.add(make_task(1, tenant="t"), now=0.0)
    scheduler.add(make_task(2, tenant="t", priority=9), now=0.0)
    scheduler.check_invariants()
    scheduler.released(session("w"), TaskId(f"{0:032x}"), ran=1.0, now=1.0)

    assert numbers(picks(scheduler, now=1.0)) == [2]


def run_all(scheduler: Scheduler, *, now: float) -> list[int]:
    """Let one task after the other end; return the order in which they started."""
    order: list[int] = []
    while found := picks(scheduler, now=now):
        scheduler.check_invariants()
        order += numbers(found)
        for pick in found:
            scheduler.released(pick.session, pick.task_ids[0], ran=1.0, now=now)
    return order


class Looks(LeastLoaded):
    """Notes how many tasks it is shown at most."""

    most = 0

    def choose_backlog(
        self, worker: WorkerView, waiting: Iterable[BacklogView], board: BoardView, *, now: float
    ) -> BacklogView | None:
        self.most = max(self.most, sum(len(backlog) for backlog in board.backlogs()))
        return super().choose_backlog(worker, waiting, board, now=now)


@pytest.mark.parametrize(
    ("of_the_other", "shown"),
    [(1, 4), (6, 13), (100, 33)],
    ids=["another has few", "another has as many", "another has more than anybody may"],
)
def test_a_window_is_wider_while_other_tenants_have_as_many_tasks(
    of_the_other: int, shown: int
) -> None:
    """Where everybody waits nobody needs protection, and a narrow choice would cost loads."""
    router = Looks()
    scheduler = make_scheduler(router, tenant_window=2)
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(0), now=0.0)
    for number in range(1, max(6, of_the_other) + 1):
        if number <= 6 or of_the_other > 6:
            scheduler.add(make_task(number, at=1.0, tenant="one"), now=1.0)
        if number <= of_the_other:
            scheduler.add(make_task(1000 + number, at=1.0, tenant="other"), now=1.0)
    run_all(scheduler, now=2.0)

    assert router.most <= shown, "of one without a tenant, and of both"
    assert router.most >= shown / 2


def test_the_place_of_a_tenants_task_goes_to_another_of_the_same_model_for_a_while() -> None:
    """Or a window of a few tasks would have workers change models for every task."""
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("w"))
    for number, model in enumerate(["plain", "sized"] * 4):
        scheduler.add(make_task(number, model, at=float(number), tenant="t"), now=10.0)

    assert run_all(scheduler, now=10.0) == [0, 2, 4, 6, 1, 3, 5, 7]


def test_tasks_of_a_model_pass_the_first_parked_one_only_so_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paintmq.broker.scheduling.tenant_window.MOST_PASSED", 2)
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("w"))
    for number, model in enumerate(["plain", "sized", *["plain"] * 4]):
        scheduler.add(make_task(number, model, at=float(number), tenant="t"), now=10.0)

    assert run_all(scheduler, now=10.0) == [0, 2, 3, 1, 4, 5]


def test_a_parked_task_of_a_higher_level_is_not_passed_by_one_of_the_same_model() -> None:
    scheduler = make_scheduler(tenant_window=1)
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(0, "plain", tenant="t", priority=9), now=0.0)
    scheduler.add(make_task(1, "sized", tenant="t", priority=5), now=0.0)
    scheduler.add(make_task(2, "plain", tenant="t"), now=0.0)

    assert run_all(scheduler, now=1.0) == [0, 1, 2]


class OnlyOnA(Router):
    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        return 1.0 if worker.name == "a" else None


def test_a_task_let_past_a_window_that_is_gone_by_now_can_still_start() -> None:
    scheduler = make_scheduler(OnlyOnA(), tenant_window=1)
    join(scheduler, make_worker("a"))
    scheduler.add(make_task(1, tenant="t"), now=0.0)
    (first,) = picks(scheduler)
    scheduler.add(make_task(2, tenant="t"), now=0.0)
    join(scheduler, make_worker("b"))
    assert picks(scheduler) == [], "it was let past the window, and the router objected"

    scheduler.released(first.session, first.task_ids[0], ran=1.0, now=1.0)
    scheduler.check_invariants()
    assert numbers(picks(scheduler, now=1.0)) == [2]
