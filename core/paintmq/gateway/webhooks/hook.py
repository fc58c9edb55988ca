"""One webhook: what is known of it, and what comes of each attempt. Pure."""

import json
import random
from typing import Any, Literal

from attrs import asdict, evolve, fields, frozen

PAUSES = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0)
"""Seconds after the first failure, the second, and so on; after the last pause one more attempt."""
MAX_ATTEMPTS = len(PAUSES) + 1
LONGEST_PAUSE = 28_800.0
"""Whatever a receiver's Retry-After says."""
SPREAD = 0.1
"""Share of a pause by which it is longer or shorter: receivers are not called by all at once."""

State = Literal["waiting", "sending", "delivered", "failed"]


@frozen(kw_only=True)
class Attempt:
    """How one attempt ended; an empty ``error`` is success."""

    error: str = ""
    retry_after: float | None = None
    is_final: bool = False
    """The receiver, or the operator, wants no further attempt."""


@frozen(kw_only=True)
class Hook:
    """A webhook as its file has it."""

    task: str
    owner: str
    """The owner's mark."""
    name: str
    """Of the token that submitted the task."""
    url: str
    state: State = "waiting"
    """``waiting`` for the task's end, then ``sending`` until it was ``delivered`` or has
    ``failed``."""
    body: str = ""
    """What is sent; empty while the task has not ended."""
    attempts: int = 0
    next_at: float = 0.0
    """Unix time of the next attempt."""
    error: str = ""
    """Why the latest attempt failed."""

    @property
    def is_over(self) -> bool:
        return self.state in ("delivered", "failed")

    def ended(self, body: str, *, now: float) -> "Hook":
        """Return the hook of a task that has ended."""
        return evolve(self, state="sending", body=body, next_at=now)

    def after(self, attempt: Attempt, *, now: float, rng: random.Random) -> "Hook":
        """Return the hook after an attempt."""
        tried = self.attempts + 1
        if not attempt.error:
            return evolve(self, state="delivered", attempts=tried, error="")
        if attempt.is_final or tried >= MAX_ATTEMPTS:
            return evolve(self, state="failed", attempts=tried, error=attempt.error)
        pause = PAUSES[tried - 1] * rng.uniform(1 - SPREAD, 1 + SPREAD)
        pause = max(pause, min(attempt.retry_after or 0.0, LONGEST_PAUSE))
        return evolve(self, attempts=tried, error=attempt.error, next_at=now + pause)

    def told(self) -> dict[str, Any]:
        """Return what the task's owner is told."""
        is_waiting = self.state == "sending"
        return {
            "url": self.url,
            "state": self.state,
            "attempts": self.attempts,
            "next_at": round(self.next_at, 3) if is_waiting else None,
            "error": self.error or None,
        }

    def to_json(self) -> bytes:
        return json.dumps({"version": 1, **asdict(self)}).encode()


def hook_of(data: bytes) -> Hook:
    """Return the hook of a file.

    Raises:
        ValueError: it is no such file, or a newer version's.
    """
    read = json.loads(data)
    if not isinstance(read, dict) or read.pop("version", None) != 1:
        raise ValueError("it is no webhook's file, or a newer paintmq wrote it")
    known = {each.name: type(each.default) for each in fields(Hook)}
    if read.keys() - known.keys() or not isinstance(read.get("task"), str):
        raise ValueError("it is no webhook's file, or a newer paintmq wrote it")
    try:
        return Hook(**read)
    except TypeError:
        raise ValueError("it is no webhook's file") from None
