"""Control requests of admins to the broker, and its refusals as HTTP tells them."""

from typing import Any

from paintmq.client.async_client import AsyncClient
from paintmq.errors import RejectedError
from paintmq.gateway.refusal import RefusedRequestError


async def asked(client: AsyncClient, subject: str, **arguments: Any) -> Any:
    """Return the broker's answer.

    Raises:
        RefusedRequestError: it refuses, as the thing asked for is not there or cannot be done.
        TimeoutError: it does not answer.
    """
    try:
        return await client.ask(subject, **arguments)
    except RejectedError as error:
        raise RefusedRequestError(409, "not_done", str(error)) from error
