"""The tasks of those who call: submitted, found, listed and cancelled under their own names.

Rule: every route of every API goes through here, so no API can show a caller another's task.
"""

# ruff: noqa: ASYNC109 -- as the client's own time-outs
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from attrs import define, evolve, field

from paintmq.client.async_client import AsyncClient
from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.client.message_check import task_id_of
from paintmq.client.task import Task
from paintmq.client.task_verbs import ASK_SECONDS
from paintmq.errors import InvalidTaskError, RejectedError, TaskUnknownError
from paintmq.gateway.followed import FollowedTasks
from paintmq.gateway.identity import MARK_DIGITS, TaskIds, may_reach
from paintmq.gateway.quotas import Quotas
from paintmq.gateway.rates import Rates
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.task_listing import described, described_row
from paintmq.http_api import Caller
from paintmq.task import Json, TaskId, TaskState

ACCEPTED_WITHIN = 30.0
"""Seconds for the broker to accept or refuse a task."""
SWEEP_SECONDS = 15.0


@define
class CallersTasks:
    """Tasks in a broker, each reached by its owner and by admins alone.

    The client must relay (``AsyncClient(relays=True)``): neither inputs that the broker has nor
    results that no user has fetched may fill this process's memory, or be lost with it.
    """

    client: AsyncClient
    ids: TaskIds
    followed: FollowedTasks = field(factory=FollowedTasks, kw_only=True)
    rates: Rates = field(factory=lambda: Rates(time.monotonic), kw_only=True)
    when_submitted: list[Callable[[Caller, AsyncTaskHandle], None]] = field(
        factory=list[Callable[[Caller, AsyncTaskHandle], None]], init=False
    )
    """Called with each task that was accepted."""
    quotas: Quotas = field(init=False)

    @quotas.default
    def _make_quotas(self) -> Quotas:
        return Quotas(self.client)

    async def submit(self, caller: Caller, task: Task, *, queue: str = "") -> AsyncTaskHandle:
        """Hand a task in for the caller, and return once the broker has accepted it.

        Its id, its tenant and, where the caller's token is limited to queues, its queue are set
        here. Tasks of one caller with equal idempotency keys are one task.

        Raises:
            RefusedError: the broker does not take it.
            RefusedRequestError: the caller's token does not allow it.
            TimeoutError: the broker does not answer.
        """
        if caller.role == "metrics":
            raise RefusedRequestError(403, "role", "a token for figures alone submits no tasks")
        self.check_broker()
        task_id = self.ids.new(caller, task.idempotency_key)
        # The key stays: inputs of a task that may be repeated get digests that cannot be forged.
        own = evolve(task, id=task_id, tenant=caller.tenant or task.tenant)
        queue = await self._queue_for(caller, own, queue)
        if not self.quotas.knows(caller):
            await self.quotas.take_over(caller, await self._unfinished(caller))
        self.quotas.enter(caller, task_id)
        try:
            handle = await self._accepted(own, queue)
        except BaseException:
            self.quotas.leave(caller, task_id)
            raise
        self.quotas.follow(caller, handle)
        self.followed.add(handle)
        for tell in self.when_submitted:
            tell(caller, handle)
        return handle

    async def _accepted(self, task: Task, queue: str) -> AsyncTaskHandle:
        # Without room it is refused at once: a request that waits for it keeps others out.
        handle = await self.client.submit(task, queue=queue, timeout=0)
        try:
            return await handle.accepted(timeout=ACCEPTED_WITHIN)
        except TimeoutError:
            # Without a key the id is lost with this answer, and its result could not be fetched.
            # With one the caller is to come again, to us or to another gateway, and is given the
            # same task: a cancel that is still under way then would end what was promised.
            if task.idempotency_key is None:
                with suppress(TimeoutError):
                    await self.client.cancel(handle, timeout=0)
            raise

    async def _unfinished(self, caller: Caller) -> list[TaskId]:
        rows = await self.own_rows(caller)
        return [TaskId(row["id"]) for row in rows if not TaskState(row["state"]).is_final]

    async def own_rows(self, caller: Caller) -> list[Mapping[str, Any]]:
        """Return the newest of the caller's own tasks, an admin's too, in order of acceptance."""
        return await self.rows(evolve(caller, role="user"), newest=True)

    async def find(self, caller: Caller, task_id: str) -> AsyncTaskHandle:
        """Return a handle of the caller's task, if need be a new one, whose result comes from the
        broker.

        Raises:
            TaskUnknownError: the broker does not know it, or it is another's.
            TimeoutError: the broker does not answer.
        """
        checked = self.checked_id(caller, task_id)
        if (handle := self.followed.get(checked)) is None:
            self.check_broker()
            handle = await self.client.fetch(checked)
            await handle.accepted(timeout=ACCEPTED_WITHIN)
            self.followed.add(handle)
        return handle

    async def describe(self, caller: Caller, task_id: str) -> dict[str, Any]:
        """Return where the caller's task stands, without fetching its result for that.

        Raises:
            TaskUnknownError: the broker does not know it, or it is another's.
            TimeoutError: the broker does not answer.
        """
        checked = self.checked_id(caller, task_id)
        if (ending := self.followed.ending(checked)) is not None:
            return ending
        if self.followed.get(checked) is None:
            row = await self._asked("dead_show", checked)
            if TaskState(row["state"]).is_final:
                return described_row(row)
        return described(await self.find(caller, checked))

    async def why(
        self, caller: Caller, task_id: str, *, timeout: float = ASK_SECONDS
    ) -> dict[str, Any]:
        """Return why the caller's task waits, as the broker's ``why`` says it.

        Raises:
            TaskUnknownError: the broker does not know it, or it is another's.
            TimeoutError: the broker does not answer.
        """
        return await self._asked("why", self.checked_id(caller, task_id), timeout)

    async def _asked(
        self, subject: str, task_id: TaskId, timeout: float = ASK_SECONDS
    ) -> dict[str, Any]:
        self.check_broker()
        try:
            answer = await self.client.ask(subject, timeout=timeout, task_id=task_id)
        except RejectedError as error:  # all that it says to these questions is: no such task
            raise TaskUnknownError(task_id, None, "unknown", str(error)) from error
        return cast("dict[str, Any]", answer)

    @asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """Let go of endings that nobody fetches, as long as the gateway serves."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.followed.sweep()

    async def cancel(self, caller: Caller, task_id: str) -> str:
        """Cancel the caller's task: ``cancelled``, ``too_late``, or ``unknown``, which another's
        is too.
        """
        try:
            checked = self.checked_id(caller, task_id)
        except TaskUnknownError:
            return "unknown"
        return await self.client.cancel(checked)

    async def confirm(self, handle: AsyncTaskHandle, caller: Caller | None = None) -> None:
        """Let go of the task here, and let the broker forget it after a while: its caller has it.

        To be called once the ending was sent, not before: a result that was never confirmed is kept
        by the broker for a day. If the ``caller`` is given and an admin who has looked at another's
        task, the broker keeps it for its owner.
        """
        self.followed.drop(handle.id)
        if caller is None or handle.id[:MARK_DIGITS] == caller.owner:
            await self.client.confirm(handle)

    async def rows(self, caller: Caller, **filters: Json) -> list[Mapping[str, Any]]:
        """Return the caller's tasks in order of acceptance, as ``paintmq ls`` shows them; an admin
        gets everybody's.

        ``filters``: ``state``, ``model``, ``queue``.
        """
        if not caller.is_admin:
            filters = {**filters, "mark": caller.owner}
        answer = cast(
            "Mapping[str, Any]",
            await self.client.ask("tasks", timeout=ASK_SECONDS, **filters),
        )
        return [row for row in answer["tasks"] if may_reach(caller, row["id"])]

    def checked_id(self, caller: Caller, task_id: str) -> TaskId:
        """Return the id if it may be the caller's.

        Raises:
            TaskUnknownError: it is none, or another's.
        """
        with suppress(InvalidTaskError):
            checked = task_id_of(task_id)
            if may_reach(caller, checked):
                return checked
        raise TaskUnknownError(
            TaskId(task_id[:64]), None, "unknown", f"you have no task {task_id[:64]!r}"
        )

    def check_broker(self) -> None:
        """Raise TimeoutError at once if the broker is known not to answer."""
        if trouble := self.client.trouble:
            raise TimeoutError(trouble)

    async def _queue_for(self, caller: Caller, task: Task, queue: str) -> str:
        """Return the queue to ask for; empty: the broker chooses."""
        allowed = caller.queues
        if allowed is None:
            return queue
        if queue and queue not in allowed:
            raise RefusedRequestError(
                403,
                "queue",
                f"your token {caller.name!r} may use {', '.join(allowed)}, not {queue!r}",
            )
        if queue or len(allowed) == 1:
            return queue or allowed[0]
        request = task.outline()
        answer = await self.client.ask(
            "route",
            task_type=request.task_type,
            model=request.model,
            device=request.device,
            options=dict(request.options),
            inputs=[
                {"name": each.name, "size": each.size, "width": each.width, "height": each.height}
                for each in request.inputs
            ],
        )
        chosen = str(cast("Mapping[str, Json]", answer).get("queue", ""))
        return chosen if chosen in allowed else allowed[0]
