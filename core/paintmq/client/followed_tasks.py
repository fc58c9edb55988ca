"""The tasks a session follows: entered by any thread, ended by the session's."""

import threading

from attrs import define, evolve, field

from paintmq.client.followed_task import FollowedTask
from paintmq.client.task import Task
from paintmq.errors import InvalidTaskError
from paintmq.task import TaskId, TaskRequest


@define(eq=False)
class FollowedTasks:
    """One FollowedTask an id, however many handles there are of it."""

    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _of_tasks: threading.Lock = field(factory=threading.Lock, init=False)
    """Which all of them share: a lock each would be a third of their memory."""
    _tasks: dict[TaskId, FollowedTask] = field(factory=dict[TaskId, FollowedTask], init=False)

    def submit(self, request: TaskRequest, task: Task | None) -> tuple[FollowedTask, bool]:
        """Return what follows the task, and whether it was not submitted here before.

        Raises:
            InvalidTaskError: a different task with this id is unfinished.
        """
        with self._lock:
            known = self._tasks.get(request.id)
            if known is not None and known.request is not None:
                _check_same(request, known.request)
                return known, False
            followed = known or FollowedTask(request.id, self._of_tasks)
            followed.task, followed.request = task, request
            self._tasks[request.id] = followed
            return followed, True

    def fetch(self, task_id: TaskId) -> tuple[FollowedTask, bool]:
        """Return what follows the task, and whether it was not followed before."""
        with self._lock:
            if (known := self._tasks.get(task_id)) is not None:
                return known, False
            followed = self._tasks[task_id] = FollowedTask(task_id, self._of_tasks)
            return followed, True

    def get(self, task_id: TaskId) -> FollowedTask | None:
        return self._tasks.get(task_id)

    def pop(self, task_id: TaskId) -> FollowedTask | None:
        with self._lock:
            return self._tasks.pop(task_id, None)

    def pop_all(self) -> list[FollowedTask]:
        with self._lock:
            tasks, self._tasks = self._tasks, {}
        return list(tasks.values())


def _check_same(request: TaskRequest, known: TaskRequest) -> None:
    # The queue says where a task waits; it is no part of what the task is.
    if evolve(request, queue="", trace="") != evolve(known, queue="", trace=""):
        raise InvalidTaskError(
            f"task {request.id} is under way with other contents; use another id or idempotency key"
        )
