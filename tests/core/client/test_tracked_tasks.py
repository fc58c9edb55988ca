"""When a client asks after each of its tasks, and what that takes."""

import random

from hypothesis import given
from hypothesis import strategies as st

from paintmq.client.tracked_tasks import QUERIES_A_SECOND, SLACK, TrackedTasks
from paintmq.task import TaskId


class Even(random.Random):
    """Randomness that leaves every time as it is."""

    def random(self) -> float:
        return 0.5


def make_tasks() -> TrackedTasks:
    return TrackedTasks(Even(), 1.0, 30.0)


def task_id(number: int) -> TaskId:
    return TaskId(f"{number:032x}")


def test_a_task_falls_due_again_after_twice_as_long() -> None:
    tasks = make_tasks()
    task = tasks.add(task_id(1), None, now=0.0)

    assert tasks.next_due() == 1.0
    assert tasks.pop_due(now=0.9) == []
    assert tasks.pop_due(now=1.0) == [task]
    assert tasks.next_due() == 3.0


def test_what_was_postponed_falls_due_when_it_was_postponed_to() -> None:
    tasks = make_tasks()
    first, second = tasks.add(task_id(1), None, now=0.0), tasks.add(task_id(2), None, now=0.5)
    tasks.schedule(first, 5.0)

    assert tasks.next_due() == 1.5
    assert tasks.pop_due(now=1.5) == [second]
    tasks.schedule(first, 2.0)
    assert tasks.pop_due(now=2.0) == [first]


def test_what_was_dropped_never_falls_due() -> None:
    tasks = make_tasks()
    tasks.add(task_id(1), None, now=0.0)
    assert tasks.pop(task_id(1)) is not None

    assert tasks.pop_due(now=9.0) == []
    assert tasks.next_due() == float("inf")
    again = tasks.add(task_id(1), None, now=9.0)
    assert tasks.pop_due(now=10.0) == [again]


def test_many_that_were_accepted_are_asked_after_seldom() -> None:
    tasks = make_tasks()
    for number in range(10 * QUERIES_A_SECOND):
        tasks.accepted(tasks.add(task_id(number), None, now=0.0), now=0.0)

    assert len(tasks.pop_due(now=1.0)) <= QUERIES_A_SECOND + 1


def test_tasks_that_end_at_once_leave_nothing_behind() -> None:
    tasks = make_tasks()
    tasks.add(task_id(0), None, now=0.0)
    for number in range(1, 1_000):
        tasks.add(task_id(number), None, now=0.0)
        tasks.pop(task_id(number))

    assert len(tasks._heap) <= 2 * len(tasks) + SLACK + 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "drop", "schedule", "pop"]),
            st.integers(0, 3),
            st.integers(0, 9),
        ),
        max_size=40,
    )
)
def test_every_task_falls_due_at_its_time_whatever_was_done_before(
    steps: list[tuple[str, int, int]],
) -> None:
    tasks, now = make_tasks(), 0.0
    due: dict[TaskId, float] = {}
    for step, number, time in steps:
        each = task_id(number)
        task = tasks.get(each)
        if step == "add" and task is None:
            due[each] = tasks.add(each, None, now=now).due_at
        elif step == "drop":
            tasks.pop(each)
            due.pop(each, None)
        elif step == "schedule" and task is not None:
            tasks.schedule(task, now + time)
            due[each] = now + time
        elif step == "pop":
            now += time / 2
            popped = tasks.pop_due(now=now)
            assert {task.id for task in popped} == {key for key, at in due.items() if at <= now}
            due.update({task.id: task.due_at for task in popped})
        assert tasks.next_due() == min(due.values(), default=float("inf"))
