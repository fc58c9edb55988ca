"""Tasks are sorted into backlogs by what workers tell apart."""

from tests.harness.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
)

from paintmq.broker.scheduling.backlog import HEAD
from paintmq.broker.scheduling.backlog_table import BacklogTable
from paintmq.broker.scheduling.filters import Profile, profile_of

SMALL = profile_of(make_worker("small", memory_mb=1_000))
LARGE = profile_of(make_worker("large", memory_mb=8_000))
PLAIN_ONLY = profile_of(make_worker("plain", models=("plain",)))


def make_table(*profiles: Profile) -> tuple[BacklogTable, list[Profile]]:
    known = list(profiles)
    return BacklogTable(known), known


def test_tasks_that_the_same_workers_can_run_share_a_backlog() -> None:
    table, _ = make_table(SMALL, LARGE)
    sizes = [1_000, 500_000, 5_000_000, 7_000_000]
    backlogs = [
        table.backlog_for(make_task(number, "sized", pixels=pixels))
        for number, pixels in enumerate(sizes)
    ]

    assert [backlog.number for backlog in backlogs] == [1, 1, 2, 2]
    assert [backlog.key.profiles for backlog in backlogs] == [0b11, 0b11, 0b10, 0b10]
    assert list(table) == [backlogs[0], backlogs[2]]
    table.drop(backlogs[0])
    assert list(table) == [backlogs[2]]


def test_tasks_whose_past_differs_wait_apart() -> None:
    table, _ = make_table(SMALL)
    numbers_of = [
        table.backlog_for(make_task(number, **changes)).number  # type: ignore[arg-type]
        for number, changes in enumerate(({}, {"suspect": True}, {"excluded": ("small",)}, {}))
    ]

    assert numbers_of == [1, 2, 3, 1]


def test_workers_of_a_new_kind_part_a_backlog_only_where_they_tell_its_tasks_apart() -> None:
    table, known = make_table()
    tasks = [
        make_task(number, "sized", pixels=pixels) for number, pixels in ((1, 10), (2, 5 * 10**6))
    ]
    (backlog,) = {
        table.backlog_for(task).number: table.backlog_for(task) for task in tasks
    }.values()

    known.append(PLAIN_ONLY)
    assert list(table.add_profile(PLAIN_ONLY)) == [], "they do not offer the model at all"
    assert backlog.key.profiles == 0
    known.append(LARGE)
    assert list(table.add_profile(LARGE)) == [], "all of its tasks fit them"
    assert backlog.key.profiles == 0b10
    known.append(SMALL)
    table.add_profile(SMALL)
    assert backlog.key.profiles == 0b10, "some fit, so each is sorted anew"


def test_a_task_parted_from_its_backlog_is_started_by_the_new_kind_of_worker() -> None:
    scheduler = make_scheduler()
    scheduler.add(make_task(1, "sized", at=0.0, pixels=5_000_000), now=0.0)
    scheduler.add(make_task(2, "sized", at=1.0, pixels=10), now=1.0)
    join(scheduler, make_worker("plain", models=("plain",)), make_worker("small"))

    assert numbers(picks(scheduler, now=1.0)) == [2]
    join(scheduler, make_worker("large", memory_mb=8_000))
    assert numbers(picks(scheduler, now=1.0)) == [1]


def test_the_bounds_of_a_backlog_cover_all_its_tasks_however_many_kinds_there_are() -> None:
    table, _ = make_table(LARGE)
    sizes = [1_000 + 1_000 * number for number in range(3 * HEAD)]
    tasks = [make_task(number, "sized", pixels=size) for number, size in enumerate(sizes)]
    for task in [*tasks, *tasks]:
        backlog = table.backlog_for(task)

    needs = [task.checked.needs["cpu"].memory_mb for task in tasks]
    assert backlog.lowest["cpu"].memory_mb == min(needs)
    assert backlog.highest["cpu"].memory_mb == max(needs)
    assert len(backlog._covered) <= HEAD
