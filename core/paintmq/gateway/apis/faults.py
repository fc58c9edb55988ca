"""What went wrong, before an API gives it its own shape."""

import math

from attrs import field, frozen

from paintmq.errors import (
    InvalidTaskError,
    PaintMQError,
    RefusedError,
    TaskCancelledError,
    TaskNotCompletedError,
    UnknownModelError,
)
from paintmq.gateway.answers import status_of
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.task import Json


@frozen
class ApiError(Exception):
    """A request that gets no picture; ``message`` is for the person who sent it."""

    status: int
    message: str
    code: str = "invalid_request"
    param: str | None = None
    """The part of the request that is wrong."""
    headers: dict[str, str] = field(factory=dict[str, str])

    def __str__(self) -> str:
        return self.message


def wrong(message: str, param: str | None = None, *, status: int = 400) -> ApiError:
    """Return the error for a request that is wrong as it stands."""
    return ApiError(status, message, "invalid_value", param)


def fault_of(error: Exception) -> ApiError:
    """Return what an error of PaintMQ's means for the one who asked."""
    match error:
        case ApiError():
            return error
        case RefusedRequestError():
            return ApiError(error.status, str(error), error.code, None, dict(error.headers))
        case UnknownModelError():
            return ApiError(404, str(error), "model_not_found", "model")
        case TaskCancelledError():
            return ApiError(400, str(error), "cancelled")
        case InvalidTaskError():
            return ApiError(400, str(error), "invalid_value", _param_of(str(error)))
        case PaintMQError() | TimeoutError():
            return _fault_of_service(error)
        case _:
            return ApiError(500, "something went wrong here; see the log", "server_error")


def _fault_of_service(error: PaintMQError | TimeoutError) -> ApiError:
    status = status_of(error)
    code = str(getattr(error, "code", "") or "server_error")
    if status == 429:
        seconds = error.retry_after if isinstance(error, RefusedError) else None
        headers = {"retry-after": str(max(1, math.ceil(seconds or 1.0)))}
        return ApiError(429, str(error), "rate_limit_exceeded", None, headers)
    if status in (410, 422):  # refusals, and inputs that only a worker could judge
        return ApiError(400, str(error), code, _param_of(str(error)))
    failed = isinstance(error, TaskNotCompletedError)
    return ApiError(500 if failed else 503, str(error), code)


def _param_of(message: str) -> str | None:
    """Return which input a message is about; the core's begin with its name."""
    name = message.partition(":")[0].removeprefix("input ").strip("'\"")
    return name if name in ("image", "mask") else None


def detailed_error(status: int, code: str, message: str) -> Json:
    """Return an error as IOPaint's page and AUTOMATIC1111's clients read it."""
    return {"error": code, "detail": message, "body": "", "errors": message}
