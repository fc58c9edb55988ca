"""The tasks whose progress the gateway follows, and no more of their results than it may hold."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from attrs import define, field

from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.gateway.task_listing import described
from paintmq.task import TaskState

MAX_TASKS = 10_000
"""Followed at a time; of older ones the broker is asked again."""
MAX_ENDED = 10_000
"""Tasks of which it is remembered how they ended."""
MAX_RESULT_BYTES = 64 * 1024 * 1024
"""Results kept here until they are fetched; for others the broker is asked again."""

MAX_SECONDS = 120.0
"""A task that has ended is held for so long if nobody fetches its result."""

_FIRM = {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED}
"""Endings that stay; a dead task may be requeued."""


@define
class FollowedTasks:
    """Handles by task id, the oldest first."""

    max_tasks: int = MAX_TASKS
    max_result_bytes: int = MAX_RESULT_BYTES
    clock: Callable[[], float] = time.monotonic
    _handles: OrderedDict[str, AsyncTaskHandle] = field(factory=OrderedDict, init=False)
    _ended_at: dict[str, float] = field(factory=dict[str, float], init=False)
    _ended: OrderedDict[str, dict[str, Any]] = field(factory=OrderedDict, init=False)

    def add(self, handle: AsyncTaskHandle) -> None:
        self._handles[handle.id] = handle
        self._handles.move_to_end(handle.id)
        if len(self._handles) > self.max_tasks:
            self.drop(next(iter(self._handles)))
        handle.add_done_callback(self._trim)

    def get(self, task_id: str) -> AsyncTaskHandle | None:
        return self._handles.get(task_id)

    def ending(self, task_id: str) -> dict[str, Any] | None:
        """Return the description of a task that has ended and is not followed any more."""
        return self._ended.get(task_id)

    def drop(self, task_id: str) -> None:
        """Let go of the task and its result, but remember how it ended."""
        handle = self._handles.pop(task_id, None)
        self._ended_at.pop(task_id, None)
        if handle is None or not handle.done() or handle.progress().state not in _FIRM:
            return
        self._ended[task_id] = described(handle)
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def sweep(self) -> None:
        """Let go of what ended a while ago; to be called now and then."""
        latest = self.clock() - MAX_SECONDS
        for task_id in [each for each, ended in self._ended_at.items() if ended <= latest]:
            self.drop(task_id)

    @property
    def result_bytes(self) -> int:
        return sum(handle.result_bytes for handle in self._handles.values())

    def _trim(self, ended: AsyncTaskHandle) -> None:
        if ended.id in self._handles:
            self._ended_at[ended.id] = self.clock()
        excess = self.result_bytes - self.max_result_bytes
        for each in [each for each in self._handles.values() if each.result_bytes]:
            if excess <= 0:
                return
            excess -= each.result_bytes
            self.drop(each.id)
