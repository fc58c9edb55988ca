"""Backlogs keep their order, however long they grow and whatever is taken out."""

import random

from hypothesis import given
from hypothesis import strategies as st

from paintmq.broker.scheduling.backlog import HEAD, RankedTasks, Waiting, WaitingTask
from paintmq.model import ModelSpec
from paintmq.plugin.catalog import Catalog
from paintmq.task import TaskId, TaskRequest

CATALOG = Catalog([ModelSpec(name="m", implementation="x:Y")])


def make_task(number: int, rank: float) -> WaitingTask:
    request = TaskRequest(id=TaskId(f"{number:032x}"), task_type="plugin", model="m")
    waiting = Waiting(
        request=request,
        checked=CATALOG.check(request),
        queue="q",
        rank=rank,
        not_before=0.0,
        suspect=False,
        excluded=(),
    )
    return WaitingTask(
        waiting=waiting,
        id=request.id,
        key=(rank, number),
        priority=0,
        tenant="",
        queue="q",
        arrived_at=0.0,
        batch_keys={},
        runs={},
        work=1.0,
    )


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=400), st.integers(0, 99))
def test_what_comes_first_is_what_ranks_first(steps: list[tuple[float, bool]], seed: int) -> None:
    rng, ranked = random.Random(seed), RankedTasks()
    known: list[WaitingTask] = []
    for number, (rank, removes) in enumerate(steps):
        if removes and known:
            task = known.pop(rng.randrange(len(known)))
            ranked.remove(task)
            assert task not in ranked
        else:
            task = make_task(number, rank)
            ranked.push(task)
            known.append(task)
        known.sort(key=lambda item: item.key)
        assert list(ranked.first(8)) == known[:8]
        assert len(ranked) == len(known)
    if known:
        assert ranked.position(known[-1]) == len(known) - 1


def test_a_long_line_comes_out_in_order() -> None:
    rng, ranked = random.Random(1), RankedTasks()
    tasks = [make_task(number, rng.random()) for number in range(3_000)]
    for task in tasks:
        ranked.push(task)
    order = []
    while ranked:
        first = ranked.first()[0]
        ranked.remove(first)
        order.append(first.key)

    assert order == sorted(task.key for task in tasks)


def test_what_was_removed_far_behind_the_front_takes_no_memory_for_ever() -> None:
    """I14: tasks that are cancelled long before their turn are not kept until it comes."""
    ranked = RankedTasks()
    tasks = [make_task(number, float(number)) for number in range(2_000)]
    strays = [make_task(3_000 + number, 1_000.5) for number in range(500)]
    for task in [*tasks, *strays]:
        ranked.push(task)
    for task in [*tasks[100:], *strays[1:]]:
        ranked.remove(task)

    assert len(ranked) == 101
    assert len(ranked._head) + len(ranked._tail) + len(ranked._strays) <= 2 * 101 + HEAD
    left = []
    while ranked:
        left.append(ranked.first()[0])
        ranked.remove(left[-1])
    assert left == [*tasks[:100], strays[0]]


def test_a_task_that_left_and_came_again_is_there_once_at_its_new_place() -> None:
    ranked = RankedTasks()
    tasks = [make_task(number, float(number)) for number in range(200)]
    for task in tasks:
        ranked.push(task)
    for place in (150, 160):  # far behind the front, where what is removed is only forgotten
        ranked.remove(tasks[place])
        tasks[place].key = (0.5 if place == 150 else 160.0, place)
        ranked.push(tasks[place])

    order = []
    while ranked:
        first = ranked.first()[0]
        ranked.remove(first)
        order.append(first.key)
    assert order == sorted(task.key for task in tasks)


def test_what_a_worker_takes_together_leaves_the_head_in_order_or_with_gaps() -> None:
    line = RankedTasks()
    tasks = [make_task(number, float(number)) for number in range(2 * HEAD)]
    for task in tasks:
        line.push(task)

    line.remove_first(tasks[:3])
    line.remove_first([tasks[4], tasks[9]])

    left = [*tasks[3:4], *tasks[5:9], *tasks[10:]]
    assert line.first(HEAD) == left[: len(line.first(HEAD))]
    assert list(line) == left
    assert tasks[4] not in line
    while left:
        first = list(line.first(8))
        assert first == left[:8]
        line.remove_first(first)
        left = left[8:]
    assert not line
