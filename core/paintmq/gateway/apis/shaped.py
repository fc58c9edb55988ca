"""Endpoints of APIs whose errors have IOPaint's and AUTOMATIC1111's shape."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from paintmq.gateway.apis.decoding import decoding_for
from paintmq.gateway.apis.faults import detailed_error, fault_of, wrong
from paintmq.gateway.apis.work import LeftError
from paintmq.gateway.services import caller_of

logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]


def shaped(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with its errors as these APIs' clients read them: always JSON."""

    async def answer(request: Request) -> Response:
        try:
            with decoding_for(caller_of(request).owner):
                return await endpoint(request)
        except Exception as error:  # clients parse whatever comes as JSON
            fault = fault_of(error)
            if fault.code == "server_error" and not isinstance(error, LeftError):
                logger.exception("a request to %s failed", request.url.path)
            body = detailed_error(fault.status, type(error).__name__, fault.message)
            return JSONResponse(body, fault.status, fault.headers)

    return answer


def object_in(body: bytes) -> dict[str, Any]:
    """Return a body that is a JSON object.

    Raises:
        ApiError: it is none.
    """
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise wrong("the body is no JSON that can be read", status=422) from None
    if not isinstance(value, dict):
        raise wrong("the body must be a JSON object", status=422)
    return value
