"""Tasks that are sent to a busy worker shortly before it is free."""

from attrs import evolve
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
from paintmq.model import ModelSpec
from paintmq.plugin.catalog import Catalog
from paintmq.task import TaskId
from paintmq.wire.messages import ResidentModel


def warm_up(scheduler: Scheduler, *names: str) -> None:
    """Let these workers have the model ``long``, and room for one task beside the one they run."""
    resident = (ResidentModel(model="long", memory_mb=1),)
    for name in names:
        worker = make_worker(name, models=("long", "other"), credit=2)
        join(scheduler, evolve(worker, resident=resident))


def begin(scheduler: Scheduler, **running: int) -> None:
    """Let each of these workers begin with the task of that number."""
    for name, number in running.items():
        scheduler.started(session(name), TaskId(f"{number:032x}"), loading=False, now=0.0)


LONG = Catalog(
    [
        ModelSpec(name="long", implementation="m:M", run_seconds=lambda job: 5.0),
        ModelSpec(name="other", implementation="m:M", run_seconds=lambda job: 5.0),
    ]
)


def test_the_only_worker_of_its_kind_is_sent_its_next_task_shortly_before_it_is_free() -> None:
    scheduler = make_scheduler()
    warm_up(scheduler, "w")
    for number in (1, 2, 3):
        scheduler.add(make_task(number, "long", at=number, catalog=LONG), now=0.0)

    assert numbers(picks(scheduler)) == [1]
    assert scheduler.next_wakeup(now=0.0) == 4.75
    assert picks(scheduler, now=4.7) == []
    scheduler.started(session("w"), TaskId(f"{1:032x}"), loading=False, now=2.0)  # it came late
    assert picks(scheduler, now=4.75) == []
    again = scheduler.next_wakeup(now=4.75)
    assert again == 6.75
    scheduler.add(make_task(4, "long", at=-60.0, catalog=LONG), now=5.0)
    assert numbers(picks(scheduler, now=again)) == [4], "as the router would choose it then"
    assert picks(scheduler, now=7.0) == []
    scheduler.released(session("w"), TaskId(f"{1:032x}"), ran=5.0, now=7.0)
    assert picks(scheduler, now=7.0) == []


def test_a_long_task_that_another_worker_could_take_is_bound_to_no_busy_one() -> None:
    scheduler = make_scheduler()
    warm_up(scheduler, "a", "b")
    for number in (1, 2, 3):
        scheduler.add(make_task(number, "long", at=number, catalog=LONG), now=0.0)
    assert numbers(picks(scheduler)) == [1, 2]
    begin(scheduler, a=1, b=2)
    assert scheduler.next_wakeup(now=0.0) is None
    assert picks(scheduler, now=4.9) == []

    # Of another kind, but able to run it all the same.
    scheduler = make_scheduler()
    warm_up(scheduler, "a")
    join(scheduler, make_worker("b", models=("long",), memory_mb=2_000))
    for number in (1, 2, 3):
        scheduler.add(make_task(number, "long", at=number, catalog=LONG), now=0.0)
    assert numbers(picks(scheduler)) == [1, 2]
    begin(scheduler, a=1, b=2)
    assert picks(scheduler, now=4.9) == []


def test_what_is_no_use_to_a_busy_worker_is_not_sent_ahead() -> None:
    """A model that it would have to load first, a suspect, and what it still holds."""
    for model, suspect in (("other", False), ("long", True)):
        scheduler = make_scheduler()
        warm_up(scheduler, "w")
        scheduler.add(make_task(1, "long", catalog=LONG), now=0.0)
        scheduler.add(make_task(2, model, at=1.0, suspect=suspect, catalog=LONG), now=0.0)
        assert numbers(picks(scheduler)) == [1]
        begin(scheduler, w=1)
        assert picks(scheduler, now=4.9) == []

    scheduler = make_scheduler()
    warm_up(scheduler, "w")
    scheduler.add(make_task(1, "long", catalog=LONG), now=0.0)
    assert numbers(picks(scheduler)) == [1]
    begin(scheduler, w=1)
    scheduler.add(make_task(1, "long", catalog=LONG), now=4.0)  # its lease was lost
    assert picks(scheduler, now=4.9) == []


def test_what_was_sent_ahead_may_be_taken_back_while_the_other_runs() -> None:
    scheduler = make_scheduler()
    warm_up(scheduler, "w")
    for number in (1, 2, 3):
        scheduler.add(make_task(number, "long", at=number, catalog=LONG), now=0.0)
    assert numbers(picks(scheduler)) == [1]
    begin(scheduler, w=1)
    assert numbers(picks(scheduler, now=4.8)) == [2]

    scheduler.released(session("w"), TaskId(f"{2:032x}"), ran=None, now=4.9)  # it was cancelled

    assert numbers(picks(scheduler, now=4.9)) == [3]


def test_a_worker_that_leaves_is_not_looked_at_again() -> None:
    scheduler = make_scheduler()
    warm_up(scheduler, "w")
    for number in (1, 2):
        scheduler.add(make_task(number, "long", at=number, catalog=LONG), now=0.0)
    assert numbers(picks(scheduler)) == [1]

    scheduler.worker_draining(session("w"), now=1.0)

    assert scheduler.next_wakeup(now=1.0) is None
    assert picks(scheduler, now=4.9) == []
