"""What the gateway answers with: results as files, and errors with the status they deserve."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
from attrs import frozen
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.client.result import Result
from paintmq.errors import (
    InvalidTaskError,
    NoRoomError,
    RefusedError,
    RejectedError,
    TaskCancelledError,
    TaskExpiredError,
    TaskNotCompletedError,
    TaskRejectedError,
    TaskUnknownError,
)
from paintmq.gateway.delivery import ByteRoom, ConfirmedResponse
from paintmq.gateway.refusal import RefusedRequestError


@frozen
class ResultAnswer:
    """The outcome of a task that has ended, as an ASGI application.

    It holds room for the result from before it is decoded until the last byte was sent.
    """

    handle: AsyncTaskHandle
    output: str
    room: ByteRoom
    told: Callable[[AsyncTaskHandle], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Once as arrays, once as a file of about that size.
        async with self.room.room_for(2 * self.handle.result_bytes):
            try:
                response = await _file_of(await self.handle.result(timeout=0), self.output)
            except TaskNotCompletedError as error:
                response = _confirmed(_error_response(error))
            response.sent = partial(self.told, self.handle)
            await response(scope, receive, send)


async def _file_of(result: Result, name: str) -> ConfirmedResponse:
    if name not in result.outputs:
        have = ", ".join(result.outputs)
        raise HTTPException(404, f"this task has no output {name!r}; it has {have}")
    output = result.outputs[name]
    if not isinstance(output, np.ndarray):
        return ConfirmedResponse(bytes(output), media_type="application/octet-stream")
    from paintmq.image.files import encode_image

    data = await asyncio.to_thread(encode_image, output, ".png", icc_profile=result.icc_profile)
    return ConfirmedResponse(data, media_type="image/png")


def _confirmed(response: Response) -> ConfirmedResponse:
    return ConfirmedResponse(
        response.body, response.status_code, media_type="application/json", headers=None
    )


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
        case NoRoomError():
            return 429
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
    return error.retry_after if isinstance(error, RefusedError) else None


def _error_response(error: Exception) -> Response:
    code = str(getattr(error, "code", "") or type(error).__name__)
    seconds = _come_again(error)
    headers = None if seconds is None else {"retry-after": str(max(1, math.ceil(seconds)))}
    return JSONResponse({"code": code, "message": str(error)}, status_of(error), headers)


async def answer_error(request: Request, error: Exception) -> Response:
    return _error_response(error)


async def answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedRequestError)
    return JSONResponse(
        {"code": error.code, "message": str(error)}, error.status, dict(error.headers)
    )


async def answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"code": "http", "message": str(error.detail)}, error.status_code)


async def answer_bug(request: Request, error: Exception) -> Response:
    # Starlette raises it again for the log; the client is told no internals.
    return JSONResponse({"code": "bug", "message": "something went wrong here; see the log"}, 500)
