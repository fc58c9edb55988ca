"""What the gateway tells of tasks: one, with how it ended; and lists, page by page."""

from collections.abc import Mapping, Sequence
from typing import Any

from paintmq.client.async_task_handle import AsyncTaskHandle
from paintmq.errors import InvalidTaskError
from paintmq.task import Json, TaskState

MAX_PAGE = 1000
PAGE = 100
_SHOWN = (
    *("id", "state", "model", "device", "queue", "priority", "tenant", "worker"),
    *("attempts", "age", "ended", "reason"),
)
"""Of the broker's rows; the name of the gateway's own key is nobody's business."""


def described(handle: AsyncTaskHandle) -> dict[str, Any]:
    """Return what is told of a task that is followed."""
    progress = handle.progress()
    error = handle.error if handle.done() else None
    return {
        "id": handle.id,
        "state": progress.state.value,
        "queue": progress.queue,
        "worker": progress.worker,
        "attempt": progress.attempt,
        "step": progress.step,
        "total": progress.total,
        "note": progress.note,
        "waiting_for": progress.waiting_for,
        "error": None if error is None else {"code": error.code, "message": str(error)},
    }


def described_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same of a task as the broker's ``dead_show`` tells it."""
    error = row.get("error")
    return {
        "id": row["id"],
        "state": row["state"],
        "queue": row["queue"],
        "worker": row["worker"],
        "attempt": row["attempts"],
        "step": 0,
        "total": 0,
        "note": "",
        "waiting_for": "",
        "error": error and {"code": error["code"], "message": error["message"]},
    }


def listed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a list as callers see them."""
    return [{name: row.get(name) for name in _SHOWN} for row in rows]


def filters_of(query: Mapping[str, str]) -> dict[str, Json]:
    """Return what a list is to hold.

    Raises:
        InvalidTaskError: there is no such filter or state.
    """
    if unknown := set(query) - {"state", "model", "queue", "limit", "before"}:
        raise InvalidTaskError(
            f"no parameter {min(unknown)!r}; there are state, model, queue, limit and before"
        )
    state = query.get("state")
    if state is not None and state not in {each.value for each in TaskState}:
        known = ", ".join(each.value for each in TaskState)
        raise InvalidTaskError(f"state {state[:40]!r}: use one of {known}")
    return {name: query[name] for name in ("state", "model", "queue") if name in query}


def page(
    rows: Sequence[Mapping[str, Any]], query: Mapping[str, str]
) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    """Return a page of rows, newest first, and the id after which the next page begins.

    ``rows``: in order of acceptance.

    Raises:
        InvalidTaskError: ``limit`` is no number of rows.
    """
    text = query.get("limit", str(PAGE))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= MAX_PAGE):
        raise InvalidTaskError(f"limit {text[:40]!r} is no whole number from 1 to {MAX_PAGE}")
    newest = list(reversed(rows))
    if (before := query.get("before")) is not None:
        places = [place for place, row in enumerate(newest) if row["id"] == before]
        newest = newest[places[0] + 1 :] if places else []
    shown = newest[: int(text)]
    return shown, shown[-1]["id"] if len(newest) > len(shown) else None


def waiting_of(why: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a waiting task stands in its line, from the broker's ``why``.

    ``starts_in``: about how many seconds from now, by when the workers that could take it should be
    free; None while none can.
    """
    explanation = why.get("explanation")
    if not explanation:
        return {}
    free = [each["free_in"] for each in explanation["workers"] if each["verdict"] != "unfit"]
    position = explanation["position"]
    starts_in = None
    if free:
        rounds = (position - 1) // len(free)
        starts_in = round(min(free) + rounds * sum(free) / len(free), 3)
    return {
        "position": position,
        "backlog": explanation["backlog"],
        "starts_in": starts_in,
        "waiting_for": why.get("waiting_for", ""),
    }
