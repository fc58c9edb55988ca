"""Where each waiting task stands."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.harness.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
)

from paintmq.model import Job, ModelSpec, Needs
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


def once(answer: Any) -> Callable[[Job], Any]:
    """Return a plugin's function that answers one time and raises ever after."""
    left = iter([answer])
    return lambda job: next(left)


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


def test_a_plugin_is_asked_once_a_task_before_it_is_accepted() -> None:
    """What it says later could no longer be refused: such a function fails at its second call."""
    spec = ModelSpec(
        name="m",
        implementation="m:M",
        max_batch=4,
        needs=once(Needs()),
        run_seconds=once(1.0),
        batch_key=once("key"),
    )
    scheduler = make_scheduler()
    join(scheduler, make_worker("w", models=("m",)))
    scheduler.add(make_task(1, "m", catalog=Catalog([spec])), now=0.0)

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
