"""Waiting for a task without taking the place of a request that brings work."""

import asyncio
from contextlib import nullcontext, suppress

from starlette.requests import Request

from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.errors import PaintMQError
from paintmq.gateway.delivery import disconnected
from paintmq.gateway.guard import SLOT


async def ended_within(handle: AsyncTaskHandle, seconds: float | None, request: Request) -> bool:
    """Wait for the task's ending, for as long as the one who asks is there.

    The request's place is given to others meanwhile, and what its body took of their room.

    Returns:
        Whether the task has ended. It has not if the time is up, or the one who asks has left,
        which ``await request.is_disconnected()`` tells.

    Raises:
        RefusedRequestError: too many wait already.
    """
    if handle.done():
        return True
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


async def _wait_for_ending(handle: AsyncTaskHandle, seconds: float | None) -> None:
    with suppress(PaintMQError, TimeoutError):
        await handle.result(timeout=seconds)
