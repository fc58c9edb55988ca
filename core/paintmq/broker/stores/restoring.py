"""Tasks out of the rows of a store: what cannot be read any more has ended as FAILED(corrupt)."""

from collections.abc import Callable

from attrs import evolve, frozen

from paintmq.broker.records import StoredTask, keeps_inputs
from paintmq.broker.stores.rows import (
    checksum,
    corrupt,
    corrupt_request,
    corrupt_status,
    decode_request,
    decode_status,
)
from paintmq.broker.stores.store import Direction, PayloadKey
from paintmq.task import PayloadInfo, TaskState


@frozen
class TaskRow:
    """A row of ``task``; None where a checksum was wrong."""

    task_id: str
    request: bytes | None
    status: bytes | None


def checked_row(
    task_id: str,
    request: bytes,
    request_check: bytes,
    sequence: int,
    status: bytes,
    status_check: bytes,
) -> TaskRow:
    """Return the row, without what its checksums do not fit."""
    key = task_id.encode()
    request_right = checksum(key, request) == request_check
    status_right = checksum(key, status, str(sequence).encode()) == status_check
    return TaskRow(task_id, request if request_right else None, status if status_right else None)


def restore(
    row: TaskRow, is_there: Callable[[PayloadKey, PayloadInfo], bool], now: float
) -> tuple[StoredTask, bool]:
    """Return a task as far as it can be read, and whether nothing of it is missing.

    Args:
        row: what the store holds of it.
        is_there: whether a payload is stored, with that size; its content is checked when it is
            fetched.
        now: latest broker time in the store, when what cannot be read any more has ended.
    """
    request = corrupt_request(row.task_id) if row.request is None else decode_request(row.request)
    status = corrupt_status(now) if row.status is None else decode_status(row.status)
    if row.request is None and row.status is not None:
        status = corrupt(status, "the request", at=now)
    if row.request is None or row.status is None:
        return StoredTask(request, status), False
    task = StoredTask(request, status)
    if status.state is TaskState.DEAD:
        return task, True  # an ending stays; a damaged input is found when the task is revived
    needed: list[tuple[Direction, PayloadInfo]] = []
    if keeps_inputs(status.state):
        needed += [("in", info) for info in request.inputs]
    if status.state is TaskState.SUCCEEDED:
        needed += [("out", info) for info in status.outputs]
    for direction, info in needed:
        if not is_there(PayloadKey(request.id, direction, info.name), info):
            what = f"the {direction}put {info.name!r}"
            return evolve(task, status=corrupt(status, what, at=now)), False
    return task, True
