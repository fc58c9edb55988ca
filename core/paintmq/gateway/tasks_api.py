"""Our own API, ``/v1``: submit tasks, list and follow them, fetch their results, cancel them."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from attrs import define
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from paintmq.errors import InvalidTaskError, PaintMQError
from paintmq.gateway.answers import ResultAnswer, error_fields, status_of
from paintmq.gateway.handing_in import hand_in
from paintmq.gateway.live.routes import LiveRoutes
from paintmq.gateway.queue_routes import QueueRoutes
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.representation import picture_form
from paintmq.gateway.request_tasks import fields_of_request
from paintmq.gateway.service_routes import ServiceRoutes
from paintmq.gateway.services import HttpServices, caller_of, require_role
from paintmq.gateway.submission import TaskFields
from paintmq.gateway.task_listing import described, filters_of, listed, page, waiting_of
from paintmq.gateway.waiting import ended_within
from paintmq.http_api import Caller, HttpApi

LONGEST_WAIT = 60.0
"""Seconds a request for a result may wait for it."""
WHY_WITHIN = 2.0
"""Seconds for the broker to say where a task stands in its line."""
_RESULT_PARAMETERS = ("wait", "output", "format", "quality")


def tasks_api(services: HttpServices) -> HttpApi:
    """Return the API ``v1``."""
    own, service, live = TaskRoutes(services), ServiceRoutes(services), LiveRoutes(services)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(services.tasks.swept())
            await stack.enter_async_context(live.open())
            if services.webhooks is not None:
                await stack.enter_async_context(services.webhooks.delivering())
            yield

    return HttpApi(
        name="v1",
        prefixes=("/v1",),
        public=("/v1/openapi.json", "/v1/docs"),
        routes=[
            Route("/v1/tasks", own.submit, methods=["POST"]),
            Route("/v1/tasks", own.tasks, methods=["GET"]),
            Route("/v1/tasks/{id}", own.task, methods=["GET"]),
            Route("/v1/tasks/{id}", own.cancel, methods=["DELETE"]),
            Route("/v1/tasks/{id}/result", own.result, methods=["GET"]),
            Route("/v1/tasks/{id}/preview", own.preview, methods=["GET"]),
            Route("/v1/tasks/{id}/why", own.why, methods=["GET"]),
            Route("/v1/webhooks/secret", own.webhook_secret, methods=["GET"]),
            *service.routes(),
            *QueueRoutes(services).routes(),
            *live.routes(),
        ],
        lifespan=lifespan,
    )


@define
class TaskRoutes:
    """The handlers of what concerns a caller's tasks."""

    services: HttpServices

    async def submit(self, request: Request) -> Response:
        caller = caller_of(request)
        fields = await fields_of_request(request)
        if isinstance(fields, list):
            return await self._submit_all(caller, fields)
        handle = await hand_in(self.services, caller, fields)
        where = {"location": f"{request.scope.get('root_path', '')}/v1/tasks/{handle.id}"}
        return JSONResponse(described(handle), status_code=202, headers=where)

    async def _submit_all(self, caller: Caller, batch: list[TaskFields]) -> Response:
        """Submit each by itself: one that is refused stops no other."""
        answers = await asyncio.gather(*(self._submit_one(caller, each) for each in batch))
        return JSONResponse({"tasks": answers}, 202)

    async def _submit_one(self, caller: Caller, fields: TaskFields) -> dict[str, object]:
        try:
            handle = await hand_in(self.services, caller, fields)
        except RefusedRequestError as refusal:
            error = {"code": refusal.code, "message": str(refusal)}
            return {"id": None, "status": refusal.status, "error": error}
        except (PaintMQError, TimeoutError) as error:
            return {"id": None, "status": status_of(error), "error": error_fields(error)}
        return {"status": 202, **described(handle)}

    async def tasks(self, request: Request) -> Response:
        """List the caller's tasks, newest first."""
        query = request.query_params
        filters = filters_of(query)
        rows = await self.services.tasks.rows(caller_of(request), newest=True, **filters)
        shown, following = page(rows, query)
        return JSONResponse({"tasks": listed(shown), "next": following})

    async def task(self, request: Request) -> Response:
        """Tell where a task stands, and if it waits, where in its line."""
        caller, task_id = caller_of(request), request.path_params["id"]
        told = await self.services.tasks.describe(caller, task_id)
        if told["state"] == "queued":
            told |= await self._place_in_line(caller, task_id)
        if self.services.webhooks is not None:
            webhook = await self.services.webhooks.told(told["id"])
            told |= {} if webhook is None else {"webhook": webhook}
        return JSONResponse(told)

    async def webhook_secret(self, request: Request) -> Response:
        """Tell what the receivers of one's own webhooks check signatures with."""
        caller, webhooks = caller_of(request), self.services.webhooks
        require_role(caller, "user", "admin")
        if webhooks is None:
            raise RefusedRequestError(404, "webhook", "this service sends no webhooks")
        return JSONResponse({"secret": webhooks.shown_secret(caller)})

    async def _place_in_line(self, caller: Caller, task_id: str) -> dict[str, Any]:
        try:
            why = await self.services.tasks.why(caller, task_id, timeout=WHY_WITHIN)
        except (PaintMQError, TimeoutError):
            return {}  # it has begun meanwhile, or the broker is busy: no reason to fail
        return waiting_of(why)

    async def why(self, request: Request) -> Response:
        """Tell why a task waits: each worker's verdict, as ``paintmq why`` shows it."""
        why = await self.services.tasks.why(caller_of(request), request.path_params["id"])
        why.pop("task", None)
        return JSONResponse(why)

    async def cancel(self, request: Request) -> Response:
        caller = caller_of(request)
        answer = await self.services.tasks.cancel(caller, request.path_params["id"])
        return JSONResponse({"answer": answer}, status_code=404 if answer == "unknown" else 200)

    async def preview(self, request: Request) -> Response:
        """Answer with the picture so far; 204 where there is none to show."""
        form = picture_form(request.query_params, request.headers.get("accept", ""))
        handle = await self.services.tasks.find(caller_of(request), request.path_params["id"])
        progress = handle.progress()
        if progress.preview is None:
            return Response(status_code=204)
        from paintmq.image import encode_image

        data = await asyncio.to_thread(
            encode_image, progress.preview, form.format, quality=form.quality
        )
        headers = {"x-step": str(progress.step), "x-total": str(progress.total)}
        return Response(data, media_type=form.media_type, headers=headers)

    async def result(self, request: Request) -> ASGIApp:
        """Answer with the result, or with what became of the task instead; wait if asked to.

        The broker keeps a result for as long as it was never fetched, and is told that it was once
        the answer has been sent, not before.
        """
        query = request.query_params
        if unknown := set(query) - set(_RESULT_PARAMETERS):
            known = ", ".join(_RESULT_PARAMETERS)
            raise InvalidTaskError(f"no parameter {min(unknown)!r}; there are {known}")
        form = picture_form(query, request.headers.get("accept", ""))
        wait = _seconds(query.get("wait", "0"))
        caller, tasks = caller_of(request), self.services.tasks
        handle = await tasks.find(caller, request.path_params["id"])
        if not await ended_within(handle, wait, request):
            return JSONResponse(described(handle), status_code=202, headers={"retry-after": "1"})
        told = partial(tasks.confirm, caller=caller)
        return ResultAnswer(handle, query.get("output", "image"), self.services.room, told, form)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise InvalidTaskError("wait must be a number of seconds")
    return min(max(seconds, 0.0), LONGEST_WAIT)
