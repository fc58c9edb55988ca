"""What happened of late in a broker, numbered, for whoever follows it. Pure.

Rule 1: it costs the broker nothing while nobody asks: happenings are kept as they came, and told in
words when somebody reads them.
Rule 2: a reader has no state here. It asks for what came after a number, so a slow one costs nobody
anything, and one that comes back is given what is still there, or told how many it missed.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from attrs import define, field, frozen

from paintmq.broker.accounting.happening import Happening, Note, Transition
from paintmq.task import Json, TaskState
from paintmq.task_status import TaskStatus

MOST_KEPT = 10_000
"""Happenings that are kept: a few seconds of a broker with thousands of small tasks a second, and
hours of one that restores pictures."""
MOST_TOLD = 500
"""Events of one answer."""

_STATES = {
    "accept": "accepted",
    "lease": "leased",
    "load": "loading",
    "run": "running",
    "retry": "queued again",
    "revive": "requeued",
    "acknowledge": "acknowledged",
    "forgive": "forgiven",
    "adopt": "adopted",
}


@frozen(kw_only=True)
class Filter:
    """Which events are wanted; "" is any."""

    queue: str = ""
    model: str = ""
    tenant: str = ""
    task: str = ""

    def takes(self, happening: Happening) -> bool:
        if isinstance(happening, Note):
            wanted = self.queue in ("", happening.queue) and self.model in ("", happening.model)
            return wanted and not self.tenant and not self.task
        _, request, status, _ = happening
        return (
            self.queue in ("", status.queue)
            and self.model in ("", request.model)
            and self.tenant in ("", request.tenant)
            and self.task in ("", request.id)
        )


@frozen(kw_only=True)
class Told:
    """An answer to a reader."""

    events: list[Json]
    next: int
    """The number to ask after next time."""
    missed: int
    """Happenings after the reader's number that are gone: maybe some that it wanted."""
    more: bool
    """There is more already: ask again at once."""

    def to_json(self) -> dict[str, Json]:
        return {
            "events": self.events,
            "next": self.next,
            "missed": self.missed,
            "more": self.more,
        }


@define
class EventLog:
    """The last happenings."""

    _kept: deque[tuple[float, Happening]] = field(
        factory=lambda: deque[tuple[float, Happening]](maxlen=MOST_KEPT), init=False
    )
    last: int = field(default=0, init=False)
    """The number of the last one, counted from the broker's start."""

    def add(self, happenings: Sequence[Happening], *, now: float) -> None:
        """Number what has happened since the last call, and keep it."""
        self._kept.extend((now, happening) for happening in happenings)
        self.last += len(happenings)

    def tell(
        self, after: int, wanted: Filter, sees: Callable[[str], bool], *, is_admin: bool
    ) -> Told:
        """Return what came after that number, and may be told to whoever asks.

        ``after``: 0 is all that is kept; negative, or beyond the last: only what comes from now on.
        ``sees``: whether tasks of this owner exist, as far as the reader is told. Workers are told
        of to admins alone.
        """
        if after < 0 or after > self.last:
            return Told(events=[], next=self.last, missed=0, more=False)
        first = self.last - len(self._kept) + 1
        missed = max(0, first - after - 1)
        number = max(after, first - 1)
        events: list[Json] = []
        for at, happening in islice(self._kept, number + 1 - first, None):
            number += 1
            if not _may_see(happening, sees, is_admin=is_admin) or not wanted.takes(happening):
                continue
            events.append(tell_of(number, at, happening))
            if len(events) >= MOST_TOLD:
                break
        return Told(events=events, next=number, missed=missed, more=number < self.last)


def _may_see(happening: Happening, sees: Callable[[str], bool], *, is_admin: bool) -> bool:
    if isinstance(happening, Note):
        return is_admin
    return sees(happening[2].owner)


def tell_of(number: int, at: float, happening: Happening) -> dict[str, Json]:
    """Return a happening as plain values; ``at``: when it was counted, a second late at most."""
    if isinstance(happening, Note):
        what = happening.what
        kind = "queue" if what == "rejected" else "worker"
        told: dict[str, Json] = {
            "number": number,
            "at": at,
            "kind": kind,
            "event": what,
            "queue": happening.queue,
            "worker": happening.worker,
            "model": happening.model,
            "detail": happening.detail,
        }
        if happening.seconds:
            told["seconds"] = happening.seconds
        return told
    event, request, status, _ = happening
    return {
        "number": number,
        "at": _when(happening, at),
        "kind": "task",
        "event": _STATES.get(event, status.state.value),
        "task_id": request.id,
        "task_type": request.task_type,
        "model": request.model,
        "tenant": request.tenant,
        "queue": status.queue,
        "state": status.state.value,
        "worker": status.worker,
        "attempt": status.attempt,
        **_detail(status),
    }


def _when(transition: Transition, counted: float) -> float:
    event, _, status, _ = transition
    times: Mapping[str, float | None] = {
        "accept": status.accepted_at,
        "lease": status.leased_at,
        "load": status.started_at,
        "run": status.started_at,
        "acknowledge": status.acknowledged_at,
        "retry": status.history[-1].ended_at if status.history else None,
    }
    at = times.get(event, status.ended_at)
    return counted if at is None else at


def _detail(status: TaskStatus) -> dict[str, Json]:
    error = status.error
    if error is None and status.state is TaskState.QUEUED and status.history:
        error = status.history[-1].error
    return {} if error is None else {"error": error.code, "detail": error.message}
