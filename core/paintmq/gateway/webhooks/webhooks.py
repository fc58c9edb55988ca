"""What APIs do with webhooks: check one, keep it with its task, and tell how it stands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field

from paintmq.gateway.callers import unix_time
from paintmq.gateway.callers_tasks import CallersTasks
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.webhooks.courier import Courier
from paintmq.gateway.webhooks.folder import HookFolder
from paintmq.gateway.webhooks.hook import Attempt, Hook
from paintmq.gateway.webhooks.hosts import WebhookHosts
from paintmq.gateway.webhooks.sending import post
from paintmq.gateway.webhooks.signature import secret_of, shown_secret, signed_headers
from paintmq.http_api import Caller

MAX_KEPT = 60_000
"""Files in the folder, those of webhooks that are over included, beyond which none is taken."""
MAX_KEPT_EACH = 20_000
"""Those of one owner: more than are kept of those that are over."""


@define(eq=False)
class Webhooks:
    """The webhooks of one gateway."""

    hosts: WebhookHosts
    folder: HookFolder
    tasks: CallersTasks
    secret: bytes = field(repr=False)
    """Of the service: the same for all gateways that share the file of tokens."""
    is_known: Callable[[str], bool]
    """Whether the token of this name is still good: nothing is sent for one that was revoked."""
    root_path: str = ""
    courier: Courier = field(init=False)

    @courier.default
    def _make_courier(self) -> Courier:
        return Courier(self.folder, self.tasks, self._send, self.root_path)

    def check(self, url: str) -> None:
        """Check that a URL may be called.

        Raises:
            RefusedRequestError: it may not.
        """
        try:
            self.hosts.target(url)
        except ValueError as error:
            raise RefusedRequestError(422, "webhook", f"webhook: {error}") from None

    async def add(self, caller: Caller, task_id: str, url: str) -> None:
        """Keep the webhook of a task that the broker has accepted.

        A task that has one already keeps that: it was submitted again.

        Raises:
            RefusedRequestError: it cannot be kept.
        """
        hook = Hook(task=task_id, owner=caller.owner, name=caller.name, url=url)
        try:
            await asyncio.to_thread(self._keep_new, hook)
        except OSError as error:
            raise RefusedRequestError(
                507, "webhook", f"the webhook cannot be kept: {error.strerror}"
            ) from error
        self.courier.look()

    def _keep_new(self, hook: Hook) -> None:
        if self.folder.read(hook.task) is not None:
            return
        kept = self.folder.names()
        own = sum(1 for each in kept if each.startswith(hook.owner))
        if len(kept) >= MAX_KEPT or own >= MAX_KEPT_EACH:
            raise RefusedRequestError(
                429, "webhook", "too many webhooks wait to be delivered", **{"retry-after": "60"}
            )
        self.folder.write(hook)

    async def told(self, task_id: str) -> dict[str, Any] | None:
        """Return how the webhook of a task stands; None: it has none."""
        hook = await asyncio.to_thread(self.folder.read, task_id)
        return None if hook is None else hook.told()

    def shown_secret(self, caller: Caller) -> str:
        """Return what the receivers of the caller's webhooks check signatures with."""
        return shown_secret(secret_of(self.secret, caller.owner))

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Deliver as long as the gateway serves."""
        running = asyncio.create_task(self.courier.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _send(self, hook: Hook) -> Attempt:
        if not self.is_known(hook.name):
            error = f"the token {hook.name!r} is not good any more"
            return Attempt(error=error, is_final=True)
        body = hook.body.encode()
        secret = secret_of(self.secret, hook.owner)
        headers = signed_headers(secret, hook.task, body, now=unix_time())
        return await post(self.hosts, hook.url, body, headers)
