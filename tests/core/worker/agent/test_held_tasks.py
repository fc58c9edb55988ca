"""A line about a model host names the tasks that it had."""

from paintmq.task import Fence, TaskId
from paintmq.worker.agent.held_tasks import MOST_NAMED, held_tasks
from paintmq.worker.machine.batches import HandedOver


def batch(number: int, *names: str) -> HandedOver:
    return HandedOver(number, tuple((TaskId(name), Fence(1, 1)) for name in names), len(names))


def test_tasks_of_all_batches_are_named() -> None:
    assert held_tasks([batch(1, "a", "b"), batch(2, "c")]) == " (it had a, b, c)"
    assert held_tasks([]) == ""


def test_of_many_the_rest_is_counted() -> None:
    many = batch(1, *(f"task-{number}" for number in range(MOST_NAMED + 2)))

    assert held_tasks([many]).endswith("task-7 and 2 more)")
