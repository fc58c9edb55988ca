"""The routes: submit a task, follow it, fetch its result, cancel it; and what plugins add."""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from attrs import define, field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from paintmq.client.async_client import AsyncClient, AsyncTaskHandle
from paintmq.errors import (
    InvalidTaskError,
    PaintMQError,
    RejectedError,
    TaskCancelledError,
    TaskExpiredError,
    TaskNotCompletedError,
    TaskRejectedError,
    TaskUnknownError,
)
from paintmq.gateway.submission import task_of_image, task_of_json
from paintmq.plugin.registry import PluginRoute
from paintmq.task import TaskId, TaskState

logger = logging.getLogger(__name__)

ACCEPTED_WITHIN = 30.0
"""Seconds for the broker to accept or refuse a task."""
LONGEST_WAIT = 60.0
"""Seconds a request for a result may wait for it."""
REMEMBERED = 1_000
"""Tasks whose progress is followed; of older ones the broker is asked again."""


@define
class Gateway:
    """The tasks that were submitted over HTTP, and their routes."""

    client: AsyncClient
    _tasks: OrderedDict[str, AsyncTaskHandle] = field(factory=OrderedDict, init=False)

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
                PaintMQError: _answer_error,
                TimeoutError: _answer_error,
                HTTPException: _answer_http_error,
                Exception: _answer_bug,
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
        await self.client.ask("version", timeout=5.0)
        return JSONResponse({"ok": True})

    async def models(self, request: Request) -> Response:
        return JSONResponse(await self.client.ask("models"))

    async def statistics(self, request: Request) -> Response:
        return JSONResponse(await self.client.ask("statistics"))

    # ---- tasks ---------------------------------------------------------------------------------

    async def submit(self, request: Request) -> Response:
        body = await request.body()
        if request.headers["content-type"].startswith("application/json"):
            task = task_of_json(body)
        else:
            task = task_of_image(body, request.query_params.multi_items())
        handle = await self.client.submit(task, timeout=ACCEPTED_WITHIN)
        async for progress in handle.updates(timeout=ACCEPTED_WITHIN):
            if progress.state is not TaskState.SUBMITTED:
                break
        # Only a refusal is the answer to this request; other endings are asked for later.
        await _raise_if_ended_by(handle, TaskRejectedError)
        self._remember(handle)
        where = {"location": f"/v1/tasks/{handle.id}"}
        return JSONResponse(_described(handle), status_code=202, headers=where)

    async def task(self, request: Request) -> Response:
        return JSONResponse(_described(await self._find(request)))

    async def cancel(self, request: Request) -> Response:
        answer = await self.client.cancel(_task_id(request))
        return JSONResponse({"answer": answer}, status_code=404 if answer == "unknown" else 200)

    async def result(self, request: Request) -> Response:
        handle = await self._find(request)
        try:
            wait = min(max(float(request.query_params.get("wait", 0)), 0.0), LONGEST_WAIT)
        except ValueError:
            raise InvalidTaskError("wait must be a number of seconds") from None
        try:
            result = await handle.result(timeout=wait)
        except TimeoutError:
            return JSONResponse(_described(handle), status_code=202, headers={"retry-after": "1"})
        name = request.query_params.get("output", "image")
        if name not in result.outputs:
            have = ", ".join(result.outputs)
            raise HTTPException(404, f"this task has no output {name!r}; it has {have}")
        output = result.outputs[name]
        if not isinstance(output, np.ndarray):
            return Response(bytes(output), media_type="application/octet-stream")
        from paintmq.image.files import encode_image

        data = await asyncio.to_thread(encode_image, output, ".png", icc_profile=result.icc_profile)
        return Response(data, media_type="image/png")

    async def _find(self, request: Request) -> AsyncTaskHandle:
        task_id = _task_id(request)
        if task_id not in self._tasks:
            handle = await self.client.fetch(task_id)
            async for progress in handle.updates(timeout=ACCEPTED_WITHIN):
                if progress.state is not TaskState.SUBMITTED:
                    break
            await _raise_if_ended_by(handle, TaskUnknownError)
            self._remember(handle)
        return self._tasks[task_id]

    def _remember(self, handle: AsyncTaskHandle) -> None:
        self._tasks[handle.id] = handle
        self._tasks.move_to_end(handle.id)
        while len(self._tasks) > REMEMBERED:
            self._tasks.popitem(last=False)


async def _raise_if_ended_by(handle: AsyncTaskHandle, kind: type[TaskNotCompletedError]) -> None:
    if not handle.done():
        return
    try:
        await handle.result(timeout=0)
    except TaskNotCompletedError as error:
        if isinstance(error, kind):
            raise


def _task_id(request: Request) -> TaskId:
    text = str(request.path_params["id"])
    if len(text) != 32 or set(text) - set("0123456789abcdef"):
        raise HTTPException(404, "a task's id is 32 hexadecimal digits")
    return TaskId(text)


def _described(handle: AsyncTaskHandle) -> dict[str, Any]:
    progress = handle.progress()
    return {
        "id": handle.id,
        "state": progress.state.value,
        "queue": progress.queue,
        "worker": progress.worker,
        "attempt": progress.attempt,
        "step": progress.step,
        "total": progress.total,
        "waiting_for": progress.waiting_for,
    }


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


# ---- errors ------------------------------------------------------------------------------------


def status_of(error: Exception) -> int:
    """Return the HTTP status that tells whose fault it is."""
    match error:
        case TaskUnknownError():
            return 404
        case TaskCancelledError() | TaskExpiredError():
            return 410
        case InvalidTaskError():
            return 400
        case RejectedError(code=code) | TaskNotCompletedError(code=code):
            if _come_again(error) is not None:
                return 429
            refused = isinstance(error, RejectedError | TaskRejectedError)
            return 422 if refused or code.startswith(("invalid_", "unknown_", "no_")) else 500
        case TimeoutError():
            return 504
        case _:
            return 500


def _come_again(error: Exception) -> float | None:
    """Return after how many seconds to try again; None if that would not help."""
    return error.retry_after if isinstance(error, RejectedError | TaskRejectedError) else None


async def _answer_error(request: Request, error: Exception) -> Response:
    code = str(getattr(error, "code", "") or type(error).__name__)
    seconds = _come_again(error)
    headers = None if seconds is None else {"retry-after": str(max(1, math.ceil(seconds)))}
    return JSONResponse({"code": code, "message": str(error)}, status_of(error), headers)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"code": "http", "message": str(error.detail)}, error.status_code)


async def _answer_bug(request: Request, error: Exception) -> Response:
    # Starlette raises it again for the log; the client is told no internals.
    return JSONResponse({"code": "bug", "message": "something went wrong here; see the log"}, 500)
