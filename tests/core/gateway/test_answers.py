"""The status of an error says whose fault it is."""

import asyncio

import pytest

from paintmq.errors import (
    InvalidOptionError,
    RejectedError,
    TaskCancelledError,
    TaskDeadError,
    TaskFailedError,
    TaskRejectedError,
    TaskUnknownError,
)
from paintmq.task import TaskState

pytest.importorskip("starlette", reason="needs paintmq[http]")

from starlette.requests import Request
from tests.harness.scripted_gateway import (
    ID,
    passing,
)

from paintmq.gateway.answers import answer_error, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidOptionError("radius"), 400),
        (RejectedError("queue_full", "full", retry_after=2.5), 429),
        (passing("disk_busy", after=1.0), 429),
        (RejectedError("no_queue_fits", "too big"), 422),
        (TaskRejectedError(ID, None, "invalid_option", "radius"), 422),
        (TaskRejectedError(ID, None, "tenant_limit", "whatever it is"), 422),
        (TaskFailedError(ID, TaskState.FAILED, "invalid_input", "no picture"), 422),
        (TaskFailedError(ID, TaskState.FAILED, "model_error", "a bug"), 500),
        (TaskDeadError(ID, TaskState.DEAD, "worker_crashed", "thrice"), 500),
        (TaskCancelledError(ID, TaskState.CANCELLED, "cancelled", ""), 410),
        (TaskUnknownError(ID, None, "unknown", ""), 404),
        (TimeoutError(), 504),
        (RuntimeError(), 500),
    ],
)
def test_the_status_says_whose_fault_it_is(error: Exception, status: int) -> None:
    assert status_of(error) == status


def test_who_may_come_again_is_told_when() -> None:
    later = asyncio.run(answer_error(Request({"type": "http"}), passing("x", after=4.2)))
    never = asyncio.run(answer_error(Request({"type": "http"}), TimeoutError()))

    assert later.headers["retry-after"] == "5"
    assert "retry-after" not in never.headers
