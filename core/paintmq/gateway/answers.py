"""What the gateway answers with: results as files, and errors with the status they deserve."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
import xxhash
from attrs import field, frozen
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
from paintmq.gateway.representation import MEDIA_TYPES, PictureForm, byte_range, matches
from paintmq.image.formats import format_of


@frozen
class ResultAnswer:
    """The outcome of a task that has ended, as an ASGI application.

    It holds room for the result from before it is decoded until the last byte was sent.
    """

    handle: AsyncTaskHandle
    output: str
    room: ByteRoom
    told: Callable[[AsyncTaskHandle], Awaitable[None]]
    form: PictureForm = field(factory=PictureForm)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Once as arrays, once as a file of about that size.
        async with self.room.room_for(2 * self.handle.result_bytes):
            try:
                data, kind = await _file_of(
                    await self.handle.result(timeout=0), self.output, self.form
                )
                response = _part_of(data, kind, Request(scope))
            except TaskNotCompletedError as error:
                response = _confirmed(_error_response(error))
            if response.is_last_part:
                response.sent = partial(self.told, self.handle)
            await response(scope, receive, send)


async def _file_of(result: Result, name: str, form: PictureForm) -> tuple[bytes, str]:
    """Return an output as a file, and its media type."""
    if name not in result.outputs:
        have = ", ".join(result.outputs)
        raise HTTPException(404, f"this task has no output {name!r}; it has {have}")
    output = result.outputs[name]
    if not isinstance(output, np.ndarray):
        known = format_of(output)
        return bytes(output), MEDIA_TYPES.get(known or "", "application/octet-stream")
    from paintmq.image import encode_image

    data = await asyncio.to_thread(
        encode_image,
        output,
        form.format,
        icc_profile=result.icc_profile,
        quality=form.quality,
    )
    return data, form.media_type


def _part_of(data: bytes, kind: str, request: Request) -> ConfirmedResponse:
    """Return the answer with these bytes: all, a part, or that the client has them already."""
    etag = f'"{xxhash.xxh3_128_hexdigest(data)}"'
    headers = {"etag": etag, "accept-ranges": "bytes", "vary": "accept"}
    if matches(request.headers.get("if-none-match", ""), etag):
        return ConfirmedResponse(b"", 304, headers)
    wanted = request.headers.get("range", "")
    if request.headers.get("if-range", etag) != etag:
        wanted = ""  # it has a part of something else
    try:
        part = byte_range(wanted, len(data))
    except ValueError:
        headers["content-range"] = f"bytes */{len(data)}"
        beyond = ConfirmedResponse(b"", 416, headers)
        beyond.is_last_part = False
        return beyond
    if part is None:
        return ConfirmedResponse(data, headers=headers, media_type=kind)
    first, last = part
    headers["content-range"] = f"bytes {first}-{last}/{len(data)}"
    answer = ConfirmedResponse(data[first : last + 1], 206, headers, kind)
    answer.is_last_part = last == len(data) - 1
    return answer


def _confirmed(response: Response) -> ConfirmedResponse:
    headers = {"retry-after": after} if (after := response.headers.get("retry-after")) else None
    return ConfirmedResponse(response.body, response.status_code, headers, "application/json")


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


def error_fields(error: Exception) -> dict[str, object]:
    """Return what a client is told of an error."""
    fields: dict[str, object] = {
        "code": str(getattr(error, "code", "") or type(error).__name__),
        "message": str(error),
    }
    if (seconds := _come_again(error)) is not None:
        fields["retry_after"] = seconds
    return fields


def _error_response(error: Exception) -> Response:
    fields = error_fields(error)
    seconds = fields.pop("retry_after", None)
    if seconds is None and isinstance(error, NoRoomError):
        seconds = 1.0
    headers = None
    if isinstance(seconds, float | int):
        headers = {"retry-after": str(max(1, math.ceil(seconds)))}
    return JSONResponse(fields, status_of(error), headers)


async def answer_error(request: Request, error: Exception) -> Response:
    return _error_response(error)


async def answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedRequestError)
    return JSONResponse(
        {"code": error.code, "message": str(error)}, error.status, dict(error.headers)
    )


async def answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"code": "http", "message": str(error.detail)}, error.status_code, error.headers
    )


async def answer_bug(request: Request, error: Exception) -> Response:
    # Starlette raises it again for the log; the client is told no internals.
    return JSONResponse({"code": "bug", "message": "something went wrong here; see the log"}, 500)
