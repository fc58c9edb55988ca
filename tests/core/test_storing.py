"""What a store of somebody else's works with."""

import json

import pytest
from attrs import evolve
from msgspec.structs import replace

from paintmq.storing import (
    BrokerBooted,
    Record,
    TaskPurged,
    decode_record,
    encode_record,
)
from paintmq.task import TaskError, TaskState
from paintmq.testing.store_contract import accepted, changed, finished

ONE = accepted("1", b"image", b"mask")
RICH = evolve(ONE.request, options={"radius": 3, "words": ["ä", None]}, tenant="t", priority=9)


@pytest.mark.parametrize(
    "record",
    [
        BrokerBooted(7, 1000.25),
        ONE,
        replace(ONE, request=RICH),
        changed(ONE, TaskState.LEASED, attempt=2, incarnation=7, worker="w"),
        changed(ONE, TaskState.FAILED, error=TaskError(code="code", message="words"), ended_at=2.5),
        finished(ONE, b"result"),
        TaskPurged(ONE.request.id),
    ],
)
def test_a_record_becomes_bytes_and_the_same_record_again(record: Record) -> None:
    data = encode_record(record)

    assert decode_record(data) == record
    assert json.loads(data)["record"] == type(record).__name__


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"3",
        b"{}",
        b'{"record": "TaskForgotten", "task_id": "1"}',
        b'{"record": "TaskPurged"}',
        b'{"record": "TaskChanged", "task_id": "1", "event": "x", "status": {"state": "odd"}}',
        b'{"record": "TaskAccepted", "task_id": "1", "request": {}, "status": {}}',
    ],
)
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="this is no record"):
        decode_record(data)
