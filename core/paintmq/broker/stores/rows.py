"""How values become the bytes of a row, and how a row that changed by itself is noticed.

JSON, so that an operator with ``sqlite3`` and an auditor that shares no code with us can read it.
"""

import hashlib
from typing import Any

import msgspec

from paintmq.broker.records import (
    BrokerBooted,
    Record,
    SettingsChanged,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
)
from paintmq.task import PayloadInfo, TaskError, TaskId, TaskRequest, TaskState
from paintmq.task_status import TaskStatus

_encoder = msgspec.json.Encoder()
_status_decoder = msgspec.json.Decoder(TaskStatus)

_USUAL = 2_048
_LENGTHS = [size.to_bytes(8) for size in range(_USUAL)]
"""What comes before most parts of a checksum: there are a dozen for each task."""


def checksum(*parts: bytes) -> bytes:
    """Return 8 bytes that change when any part, or the border between two parts, changes."""
    framed = bytearray()
    for part in parts:
        size = len(part)
        framed += _LENGTHS[size] if size < _USUAL else size.to_bytes(8)
        framed += part
    return hashlib.blake2b(framed, digest_size=8).digest()


def encode(value: TaskRequest | TaskStatus) -> bytes:
    return _encoder.encode(value)


def decode_request(data: bytes) -> TaskRequest:
    """Return the request of a row whose checksum was right."""
    return _request(msgspec.json.decode(data))


def _request(fields: dict[str, Any]) -> TaskRequest:
    inputs = msgspec.convert(fields["inputs"], tuple[PayloadInfo, ...])
    return TaskRequest(**{**fields, "inputs": inputs})


def decode_status(data: bytes) -> TaskStatus:
    """Return the status of a row whose checksum was right."""
    return _status_decoder.decode(data)


def encode_record(record: Record) -> bytes:
    """Return the record for the log: ``{"record": "TaskChanged", "task_id": …, …}``."""
    fields: dict[str, object]
    match record:
        case BrokerBooted(incarnation, at):
            fields = {"incarnation": incarnation, "at": at}
        case TaskAccepted(request, status):
            fields = {"task_id": request.id, "request": request, "status": status}
        case TaskChanged(task_id, event, status):
            fields = {"task_id": task_id, "event": event, "status": status}
        case TaskPurged(task_id):
            fields = {"task_id": task_id}
        case SettingsChanged(changes, at):
            fields = {"changes": changes, "at": at}
    return _encoder.encode({"record": type(record).__name__, **fields})


def encode_task_record(record: TaskAccepted | TaskChanged, request: bytes, status: bytes) -> bytes:
    """Return the same for a task whose status, and request, are encoded already."""
    fields: dict[str, object] = {"record": type(record).__name__}
    match record:
        case TaskAccepted():
            fields["task_id"] = record.request.id
            fields["request"] = msgspec.Raw(request)
        case TaskChanged(task_id, event):
            fields["task_id"], fields["event"] = task_id, event
    fields["status"] = msgspec.Raw(status)
    return _encoder.encode(fields)


def decode_record(data: bytes) -> Record:
    """Return what ``encode_record`` was given.

    Raises:
        ValueError: the bytes hold no record.
    """
    try:
        fields: dict[str, Any] = msgspec.json.decode(data)
        kind = fields["record"]
        if kind == "BrokerBooted":
            return BrokerBooted(fields["incarnation"], fields["at"])
        if kind == "SettingsChanged":
            return SettingsChanged(fields["changes"], fields["at"])
        task_id = TaskId(fields["task_id"])
        if kind == "TaskPurged":
            return TaskPurged(task_id)
        status = msgspec.convert(fields["status"], TaskStatus)
        if kind == "TaskChanged":
            return TaskChanged(task_id, fields["event"], status)
        if kind == "TaskAccepted":
            return TaskAccepted(_request(fields["request"]), status)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise ValueError(f"this is no record: {error!r}") from error
    raise ValueError(f"this is no record: {kind!r}")


def corrupt(status: TaskStatus, what: str, *, at: float) -> TaskStatus:
    """Return the ending of a task of which a part was lost or changed on the disk."""
    return status.changed(
        state=TaskState.FAILED,
        ended_at=at,
        outputs=(),
        error=TaskError(
            code="corrupt",
            message=f"the broker's disk lost or changed {what} of this task; submit it again",
        ),
    )


def corrupt_request(task_id: str) -> TaskRequest:
    """Return a stand-in for a request that cannot be read any more."""
    return TaskRequest(id=TaskId(task_id), task_type="unknown", model="unknown")


def corrupt_status(at: float) -> TaskStatus:
    """Return the ending of a task whose status cannot be read any more."""
    nothing = TaskStatus(state=TaskState.FAILED, queue="", accepted_at=at, rank=at)
    return corrupt(nothing, "the record", at=at)
