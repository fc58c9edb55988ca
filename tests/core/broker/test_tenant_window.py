"""How many tasks of one tenant take part at a time."""

from paintmq.task import TaskId
from paintmq.testing.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
    session,
)


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
