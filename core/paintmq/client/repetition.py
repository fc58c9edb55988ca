"""Repeating what has not been answered: submissions, and questions after many tasks. Pure."""

from collections.abc import Iterable

from paintmq.client.commands import Send
from paintmq.client.tracked_tasks import TrackedTask
from paintmq.task import TaskId
from paintmq.wire.messages import Query, Submit

IDS_A_QUERY = 500
"""Far below the wire's limit on the length of a message."""


def take_up(tasks: Iterable[TrackedTask]) -> list[Send]:
    """Submit each task again, or ask after it."""
    commands: list[Send] = []
    to_query = []
    for task in tasks:
        if task.is_query_cheaper:
            to_query.append(task.id)
        else:
            commands.append(submission(task))
    return commands + queries(to_query)


def queries(task_ids: Iterable[TaskId]) -> list[Send]:
    """Ask for the state of the tasks, in as few messages as the limit allows."""
    ids = tuple(task_ids)
    return [Send(Query(ids[i : i + IDS_A_QUERY])) for i in range(0, len(ids), IDS_A_QUERY)]


def submission(task: TrackedTask) -> Send:
    """Submit the task, for the first time or again."""
    assert task.request is not None
    task.sent = True
    return Send(Submit(task.request))
