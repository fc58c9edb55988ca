"""What a WebSocket's client may ask for, one JSON object a message."""

from typing import Any

import msgspec

from paintmq.gateway.submission import TaskFields

MAX_NAMED = 1_000
"""Tasks that one message may name."""


class LiveRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One of its fields says what is wanted; ``ref`` comes back with the answer."""

    ref: Any = None
    subscribe: "list[str] | str | None" = None
    """Ids of tasks; ``"tasks"``: all of one's own; ``"service"``: queues and workers (admin)."""
    unsubscribe: "list[str] | str | None" = None
    previews: bool | None = None
    resume: "Resumption | None" = None
    submit: TaskFields | None = None
    cancel: str | None = None
    control: "Control | None" = None


class Resumption(msgspec.Struct, forbid_unknown_fields=True):
    """What a listener had before it was cut off."""

    feed: str
    number: int


class Control(msgspec.Struct, forbid_unknown_fields=True):
    """A control request of an admin's."""

    subject: str
    arguments: dict[str, Any] = {}


CONTROLS = ("drain_worker", "dead_requeue", "dead_drop", "reload", "statistics", "workers")
"""Subjects of the broker's that an admin may ask for here."""

_DECODER = msgspec.json.Decoder(LiveRequest)


def live_request(text: str) -> LiveRequest:
    """Return what a message asks for.

    Raises:
        ValueError: it is no such message; the text says where the fault is.
    """
    try:
        request = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    for each in (request.subscribe, request.unsubscribe):
        if isinstance(each, list) and len(each) > MAX_NAMED:
            raise ValueError(f"{len(each)} tasks in one message: {MAX_NAMED} at most")
    return request
