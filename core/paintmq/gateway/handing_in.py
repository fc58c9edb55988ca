"""Handing in what a request of ``/v1`` describes: a task, and the webhook that tells its end."""

from contextlib import suppress

from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.services import HttpServices
from paintmq.gateway.submission import TaskFields
from paintmq.http_api import Caller


async def hand_in(services: HttpServices, caller: Caller, fields: TaskFields) -> AsyncTaskHandle:
    """Submit the task, and keep its webhook before anything is answered.

    Its inputs are taken out of ``fields``: once the broker has them they are held by nothing here.

    Raises:
        RefusedError: the broker does not take it.
        RefusedRequestError: the caller may not, or the webhook cannot be had; then there is no
            task either.
        TimeoutError: the broker does not answer.
    """
    url = fields.webhook
    if url:
        _check_webhook(services, url)
    task, queue = fields.task(), fields.queue
    fields.inputs = {}
    handle = await services.tasks.submit(caller, task, queue=queue)
    if url and services.webhooks is not None:
        try:
            await services.webhooks.add(caller, handle.id, url)
        except RefusedRequestError:
            with suppress(TimeoutError):
                await services.tasks.cancel(caller, handle.id)
            raise
    return handle


def _check_webhook(services: HttpServices, url: str) -> None:
    if services.webhooks is None:
        raise RefusedRequestError(422, "webhook", "webhook: this service sends none")
    services.webhooks.check(url)
