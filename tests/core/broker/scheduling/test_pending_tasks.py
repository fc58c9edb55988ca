"""Where each waiting task stands."""

from collections.abc import Callable

import pytest
from tests.harness.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
)

from paintmq.model import Job, ModelSpec
from paintmq.plugin.catalog import Catalog
from paintmq.task import TaskId


def id_of(number: int) -> TaskId:
    return TaskId(f"{number:032x}")


def test_a_task_that_was_removed_during_its_pause_is_not_lined_up_by_its_end() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    for number in (1, 2):
        scheduler.add(make_task(number, not_before=5.0), now=0.0)
    scheduler.remove(id_of(1))
    scheduler.remove(id_of(1))

    assert scheduler.next_wakeup(now=0.0) == 5.0
    assert numbers(picks(scheduler, now=5.0)) == [2]


def test_a_task_that_came_again_during_its_pause_waits_for_the_new_one() -> None:
    scheduler = make_scheduler()
    join(scheduler, make_worker("w"))
    scheduler.add(make_task(1, not_before=5.0), now=0.0)
    scheduler.remove(id_of(1))
    scheduler.add(make_task(1, not_before=9.0), now=1.0)

    assert picks(scheduler, now=5.0) == []
    assert numbers(picks(scheduler, now=9.0)) == [1]


def fickle(answers: int) -> Callable[[Job], str]:
    """Return a plugin's function that answers so often and raises ever after."""
    left = iter(range(answers))

    def key(job: Job) -> str:
        next(left)
        return "same"

    return key


@pytest.mark.parametrize(
    ("spec", "sizes"),
    [
        ({"max_batch": 4, "batch_key": lambda job: "same"}, [3]),
        ({"max_batch": 4, "batch_key": None}, [1]),  # it takes batches, but says of what
        ({"max_batch": 1, "batch_key": lambda job: "same"}, [1]),
    ],
)
def test_only_tasks_with_a_key_in_common_run_together(
    spec: dict[str, object], sizes: list[int]
) -> None:
    catalog = Catalog([ModelSpec(name="m", implementation="m:M", **spec)])  # type: ignore[arg-type]
    scheduler = make_scheduler()
    join(scheduler, make_worker("w", models=("m",)))
    for number in (1, 2, 3):
        scheduler.add(make_task(number, "m", catalog=catalog), now=0.0)

    assert [len(pick.task_ids) for pick in picks(scheduler)] == sizes


def test_a_key_that_cannot_be_told_a_second_time_harms_nobody() -> None:
    spec = ModelSpec(name="m", implementation="m:M", max_batch=4, batch_key=fickle(2))
    scheduler = make_scheduler()
    join(scheduler, make_worker("w", models=("m",)))
    catalog = Catalog([spec])
    waiting = [make_task(number, "m", catalog=catalog) for number in (1, 2)]  # asked while checked
    for task in waiting:
        scheduler.add(task, now=0.0)

    assert [len(pick.task_ids) for pick in picks(scheduler)] == [1]


def test_work_of_a_queue_is_that_of_what_waits_there() -> None:
    scheduler = make_scheduler()
    for number, queue in ((1, "a"), (2, "a"), (3, "b")):
        scheduler.add(make_task(number, queue=queue), now=0.0)
    one = scheduler.expected_work("b")

    assert one > 0
    assert scheduler.expected_work("a") == 2 * one
    scheduler.remove(id_of(1))
    assert scheduler.expected_work("a") == one
    assert scheduler.expected_work("nowhere") == 0.0
