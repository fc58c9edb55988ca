"""``/healthz`` and ``/readyz``: for whoever runs the gateway, without a token and for any Host.

They tell strangers whether all is well, and nothing else.
"""

import time
from collections.abc import Callable, Mapping

from attrs import define, field

from paintmq.client.async_client import AsyncClient
from paintmq.errors import PaintMQError

READY_WITHIN = 2.0
"""Seconds for the broker to answer."""
ASKED_EVERY = 1.0
"""Seconds for which an answer holds: probes of strangers must not become load of the broker."""


@define
class Probes:
    """Whether this process serves, and whether its broker does."""

    client: AsyncClient
    clock: Callable[[], float] = time.monotonic
    _asked: float | None = field(default=None, init=False)
    _is_ready: bool = field(default=False, init=False)

    async def alive(self) -> tuple[int, Mapping[str, object]]:
        return 200, {"ok": True}

    async def ready(self) -> tuple[int, Mapping[str, object]]:
        now = self.clock()
        if self._asked is None or now - self._asked >= ASKED_EVERY:
            self._asked = now
            self._is_ready = await self._answers()
        if self._is_ready:
            return 200, {"ok": True}
        return 503, {"ok": False, "code": "no_broker"}

    async def _answers(self) -> bool:
        if self.client.trouble:
            return False
        try:
            await self.client.ask("version", timeout=READY_WITHIN)
        except (TimeoutError, PaintMQError):
            return False
        return True
