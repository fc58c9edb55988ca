"""The routes: submit a task, follow it, fetch its result, cancel it; and what plugins add."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress

from attrs import define, field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp

from paintmq.client.async_client import AsyncClient
from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.client.message_check import task_id_of
from paintmq.client.task import Task
from paintmq.errors import InvalidTaskError, PaintMQError
from paintmq.gateway.answers import (
    ResultAnswer,
    answer_bug,
    answer_error,
    answer_http_error,
    answer_refusal,
)
from paintmq.gateway.delivery import ByteRoom, disconnected
from paintmq.gateway.followed import FollowedTasks, described
from paintmq.gateway.guard import SLOT, RefusedRequestError
from paintmq.gateway.media_type import JSON, media_type
from paintmq.gateway.submission import task_of_image, task_of_json
from paintmq.plugin.registry import PluginRoute
from paintmq.task import TaskId

logger = logging.getLogger(__name__)

ACCEPTED_WITHIN = 30.0
"""Seconds for the broker to accept or refuse a task."""
HEALTH_WITHIN = 2.0
"""Seconds for the broker to answer a question after its health."""
LONGEST_WAIT = 60.0
"""Seconds a request for a result may wait for it."""
ANSWER_BYTES = 256 * 1024 * 1024
"""Results that may be in memory to be answered with, decoded and encoded."""


@define
class Gateway:
    """The tasks that were submitted over HTTP, and their routes.

    The client must relay (``AsyncClient(relays=True)``): neither inputs that the broker has nor
    results that no user has fetched may fill this process's memory, or be lost with it.
    """

    client: AsyncClient
    followed: FollowedTasks = field(factory=FollowedTasks, kw_only=True)
    room: ByteRoom = field(factory=lambda: ByteRoom(ANSWER_BYTES), kw_only=True)

    def app(self, routes: Sequence[PluginRoute] = ()) -> Starlette:
        """Return the ASGI application; it needs a guard around it."""
        app = Starlette(
            routes=[
                Route("/v1/health", self.health, methods=["GET"]),
                Route("/v1/models", self.models, methods=["GET"]),
                Route("/v1/statistics", self.statistics, methods=["GET"]),
                Route("/v1/tasks", self.submit, methods=["POST"]),
                Route("/v1/tasks/{id}", self.task, methods=["GET"]),
                Route("/v1/tasks/{id}", self.cancel, methods=["DELETE"]),
                Route("/v1/tasks/{id}/result", self.result, methods=["GET"]),
                *_plugin_mounts(routes),
            ],
            exception_handlers={
                PaintMQError: answer_error,
                TimeoutError: answer_error,
                RefusedRequestError: answer_refusal,
                HTTPException: answer_http_error,
                Exception: answer_bug,
            },
            lifespan=self._lifespan,
        )
        app.router.redirect_slashes = False
        return app

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.client.close()

    # ---- the broker ----------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """Say whether the broker answers, and if not since when."""
        self._check_broker()
        await self.client.ask("version", timeout=HEALTH_WITHIN)
        return JSONResponse({"ok": True})

    async def models(self, request: Request) -> Response:
        return JSONResponse(await self.client.ask("models"))

    async def statistics(self, request: Request) -> Response:
        return JSONResponse(await self.client.ask("statistics"))

    def _check_broker(self) -> None:
        """Raise TimeoutError at once if the broker is known not to answer."""
        if trouble := self.client.trouble:
            raise TimeoutError(trouble)

    # ---- tasks ---------------------------------------------------------------------------------

    async def submit(self, request: Request) -> Response:
        task = await _task_of(request)
        self._check_broker()
        # Without room it is refused at once: a request that waits for it keeps others out.
        handle = await self.client.submit(task, timeout=0)
        try:
            await handle.accepted(timeout=ACCEPTED_WITHIN)
        except TimeoutError:
            # The id is lost with this answer, so its result could not be fetched.
            with suppress(TimeoutError):
                await self.client.cancel(handle, timeout=0)
            raise
        self.followed.add(handle)
        where = {"location": f"/v1/tasks/{handle.id}"}
        return JSONResponse(described(handle), status_code=202, headers=where)

    async def task(self, request: Request) -> Response:
        task_id = _task_id(request)
        if (ending := self.followed.ending(task_id)) is not None:
            return JSONResponse(ending)
        return JSONResponse(described(await self._find(task_id)))

    async def cancel(self, request: Request) -> Response:
        answer = await self.client.cancel(_task_id(request))
        return JSONResponse({"answer": answer}, status_code=404 if answer == "unknown" else 200)

    async def result(self, request: Request) -> ASGIApp:
        """Answer with the result, or with what became of the task instead; wait if asked to.

        The broker keeps a result for as long as it was never fetched, and is told that it was once
        the answer has been sent, not before.
        """
        task_id = _task_id(request)
        wait, output = _result_parameters(request)
        handle = await self._find(task_id)
        if not handle.done() and not await _is_done_within(handle, wait, request):
            return JSONResponse(described(handle), status_code=202, headers={"retry-after": "1"})
        return ResultAnswer(handle, output, self.room, self._told)

    async def _told(self, handle: AsyncTaskHandle) -> None:
        self.followed.drop(handle.id)
        await self.client.confirm(handle)

    async def _find(self, task_id: TaskId) -> AsyncTaskHandle:
        """Return a handle of the task, if need be a new one, whose result comes from the broker.

        Raises:
            TaskUnknownError: the broker does not know it.
        """
        if (handle := self.followed.get(task_id)) is None:
            self._check_broker()
            handle = await self.client.fetch(task_id)
            await handle.accepted(timeout=ACCEPTED_WITHIN)
            self.followed.add(handle)
        return handle


async def _task_of(request: Request) -> Task:
    body = await request.body()
    query = request.query_params.multi_items()
    if media_type(request.headers.get("content-type", "")) != JSON:
        return await asyncio.to_thread(task_of_image, body, query)
    if query:
        raise InvalidTaskError("beside a JSON body there is no query: write it into the body")
    return await asyncio.to_thread(task_of_json, body)


def _result_parameters(request: Request) -> tuple[float, str]:
    """Return how many seconds to wait, and which output is wanted."""
    query = request.query_params
    if unknown := set(query) - {"wait", "output"}:
        raise InvalidTaskError(f"no parameter {min(unknown)!r}; there are wait and output")
    try:
        wait = min(max(float(query.get("wait", 0)), 0.0), LONGEST_WAIT)
    except ValueError:
        raise InvalidTaskError("wait must be a number of seconds") from None
    return wait, query.get("output", "image")


async def _is_done_within(handle: AsyncTaskHandle, seconds: float, request: Request) -> bool:
    """Wait for the task's ending, for as long as the one who asks is there."""
    slot = request.scope.get(SLOT)
    with slot.waiting() if slot is not None else nullcontext():
        ended = asyncio.create_task(_wait_for_ending(handle, seconds))
        left = asyncio.create_task(disconnected(request.receive))
        try:
            await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            left.cancel()
            await asyncio.gather(ended, left, return_exceptions=True)
    return handle.done()


async def _wait_for_ending(handle: AsyncTaskHandle, seconds: float) -> None:
    with suppress(PaintMQError, TimeoutError):
        await handle.result(timeout=seconds)


def _task_id(request: Request) -> TaskId:
    try:
        return task_id_of(request.path_params["id"])
    except InvalidTaskError as error:
        raise HTTPException(404, str(error)) from None


def _plugin_mounts(routes: Sequence[PluginRoute]) -> list[Mount]:
    """Return the routes of each plugin below a path of its own, so that none hides another's."""
    by_plugin: dict[str, list[PluginRoute]] = {}
    for each in routes:
        by_plugin.setdefault(each.plugin, []).append(each)
    mounts: list[Mount] = []
    for name, own in by_plugin.items():
        try:
            inner = [Route(each.path, each.endpoint, methods=list(each.methods)) for each in own]
            below = Router(inner, redirect_slashes=False)
            mounts.append(Mount(f"/v1/plugins/{name}", app=below))
        except Exception as error:  # noqa: BLE001 -- a plugin's path may be no path for Starlette
            logger.warning("routes of plugin %s are left out: %s", name, error)
    return mounts
