"""How many unfinished tasks a caller has, where its token limits them.

Counted by the ids this gateway has handed in, and, once for each caller, by what the broker has of
an earlier gateway: a restart makes no room.
"""

from attrs import define, field

from paintmq.client.async_client import AsyncClient
from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.http_api import Caller
from paintmq.task import TaskId


@define
class Quotas:
    """The unfinished tasks of those whose tokens have a quota, by owner."""

    client: AsyncClient
    _unfinished: dict[str, set[TaskId]] = field(factory=dict[str, set[TaskId]], init=False)

    def knows(self, caller: Caller) -> bool:
        return caller.quota is None or caller.owner in self._unfinished

    async def take_over(self, caller: Caller, unfinished: list[TaskId]) -> None:
        """Count tasks that an earlier gateway handed in, until they end."""
        if self.knows(caller):
            return
        counted = self._unfinished[caller.owner] = set()
        for task_id in unfinished:
            counted.add(task_id)
            self.follow(caller, await self.client.fetch(task_id))

    def enter(self, caller: Caller, task_id: TaskId) -> None:
        """Count a task that is about to be handed in.

        Raises:
            RefusedRequestError: the caller has as many as its token allows.
        """
        if caller.quota is None:
            return
        counted = self._unfinished.setdefault(caller.owner, set())
        if len(counted) >= caller.quota and task_id not in counted:
            raise RefusedRequestError(
                429,
                "quota",
                f"your token {caller.name!r} allows {caller.quota} unfinished tasks at once",
                **{"retry-after": "5"},
            )
        counted.add(task_id)

    def leave(self, caller: Caller, task_id: TaskId) -> None:
        """Count the task no longer; harmless to repeat."""
        self._unfinished.get(caller.owner, set()).discard(task_id)

    def follow(self, caller: Caller, handle: AsyncTaskHandle) -> None:
        """Count the task until it ends."""
        if caller.quota is not None:
            handle.add_done_callback(lambda ended: self.leave(caller, ended.id))
