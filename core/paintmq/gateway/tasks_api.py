"""Our own API, ``/v1``: submit a task, follow it, fetch its result, cancel it."""

import asyncio
from functools import partial

from attrs import define
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from paintmq.client.task import Task
from paintmq.errors import InvalidTaskError
from paintmq.gateway.answers import ResultAnswer
from paintmq.gateway.followed import described
from paintmq.gateway.media_type import JSON, media_type
from paintmq.gateway.services import HttpServices, caller_of, require_role
from paintmq.gateway.submission import task_of_image, task_of_json
from paintmq.gateway.waiting import ended_within
from paintmq.http_api import HttpApi

HEALTH_WITHIN = 2.0
"""Seconds for the broker to answer a question after its health."""
LONGEST_WAIT = 60.0
"""Seconds a request for a result may wait for it."""


def tasks_api(services: HttpServices) -> HttpApi:
    """Return the API ``v1``."""
    own = TaskRoutes(services)
    return HttpApi(
        name="v1",
        prefixes=("/v1", "/"),
        routes=[
            Route("/v1/health", own.health, methods=["GET"]),
            Route("/v1/models", own.models, methods=["GET"]),
            Route("/v1/statistics", own.statistics, methods=["GET"]),
            Route("/v1/tasks", own.submit, methods=["POST"]),
            Route("/v1/tasks/{id}", own.task, methods=["GET"]),
            Route("/v1/tasks/{id}", own.cancel, methods=["DELETE"]),
            Route("/v1/tasks/{id}/result", own.result, methods=["GET"]),
        ],
    )


@define
class TaskRoutes:
    """The handlers of these routes."""

    services: HttpServices

    # ---- the broker ----------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """Say whether the broker answers, and if not since when."""
        self.services.tasks.check_broker()
        await self.services.client.ask("version", timeout=HEALTH_WITHIN)
        return JSONResponse({"ok": True})

    async def models(self, request: Request) -> Response:
        require_role(caller_of(request), "user", "admin")
        return JSONResponse(await self.services.client.ask("models"))

    async def statistics(self, request: Request) -> Response:
        require_role(caller_of(request), "admin", "metrics")
        return JSONResponse(await self.services.client.ask("statistics"))

    # ---- tasks ---------------------------------------------------------------------------------

    async def submit(self, request: Request) -> Response:
        task = await _task_of(request)
        handle = await self.services.tasks.submit(caller_of(request), task)
        where = {"location": f"{request.scope.get('root_path', '')}/v1/tasks/{handle.id}"}
        return JSONResponse(described(handle), status_code=202, headers=where)

    async def task(self, request: Request) -> Response:
        tasks, caller = self.services.tasks, caller_of(request)
        task_id = request.path_params["id"]
        if (ending := tasks.ending(caller, task_id)) is not None:
            return JSONResponse(ending)
        return JSONResponse(described(await tasks.find(caller, task_id)))

    async def cancel(self, request: Request) -> Response:
        caller = caller_of(request)
        answer = await self.services.tasks.cancel(caller, request.path_params["id"])
        return JSONResponse({"answer": answer}, status_code=404 if answer == "unknown" else 200)

    async def result(self, request: Request) -> ASGIApp:
        """Answer with the result, or with what became of the task instead; wait if asked to.

        The broker keeps a result for as long as it was never fetched, and is told that it was once
        the answer has been sent, not before.
        """
        wait, output = _result_parameters(request)
        tasks = self.services.tasks
        caller = caller_of(request)
        handle = await tasks.find(caller, request.path_params["id"])
        if not await ended_within(handle, wait, request):
            return JSONResponse(described(handle), status_code=202, headers={"retry-after": "1"})
        told = partial(tasks.confirm, caller=caller)
        return ResultAnswer(handle, output, self.services.room, told)


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
