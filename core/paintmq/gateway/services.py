"""What an API of the gateway works with."""

from collections.abc import Mapping
from typing import Any, cast

from attrs import field, frozen
from starlette.requests import HTTPConnection

from paintmq.client.async_client import AsyncClient
from paintmq.config import HttpConfig
from paintmq.gateway.callers_tasks import CallersTasks
from paintmq.gateway.delivery import ByteRoom
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.webhooks.webhooks import Webhooks
from paintmq.http_api import Caller, Role
from paintmq.task import Json

ANSWER_BYTES = 256 * 1024 * 1024
"""Results that may be in memory to be answered with, decoded and encoded."""


@frozen(kw_only=True)
class HttpServices:
    """The argument of each API's factory."""

    tasks: CallersTasks
    room: ByteRoom = field(factory=lambda: ByteRoom(ANSWER_BYTES))
    config: HttpConfig = field(factory=HttpConfig)
    options: Mapping[str, Json] = field(factory=dict[str, Json])
    """``[http.options.NAME]`` of the API that is made."""
    webhooks: Webhooks | None = None
    """None: none are sent."""

    @property
    def client(self) -> AsyncClient:
        """For what concerns no task: ``models``, ``statistics``, ``workers``."""
        return self.tasks.client


def require_role(caller: Caller, *roles: Role) -> None:
    """Check that the caller's token may do what it asks for.

    Raises:
        RefusedRequestError: it may not.
    """
    if caller.role not in roles:
        raise RefusedRequestError(
            403, "role", f"this takes a token of the role {' or '.join(roles)}, not {caller.role}"
        )


def caller_of(request: HTTPConnection | Any) -> Caller:
    """Return who sends the request, as the guard found it."""
    return cast("Caller", request.state.caller)
