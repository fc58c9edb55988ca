"""What errors mean for the one who asked."""

import pytest

from paintmq.errors import (
    NoRoomError,
    PaintMQError,
    TaskCancelledError,
    TaskFailedError,
    TaskRejectedError,
    UnknownModelError,
)
from paintmq.gateway.apis.faults import ApiError, fault_of, wrong
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.task import TaskId, TaskState

ID = TaskId("0" * 32)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (wrong("no"), 400, "invalid_value"),
        (UnknownModelError("no model"), 404, "model_not_found"),
        (TaskCancelledError(ID, TaskState.CANCELLED, "cancelled", "gone"), 400, "cancelled"),
        (TaskRejectedError(ID, None, "no_queue_fits", "too big"), 400, "no_queue_fits"),
        (TaskFailedError(ID, TaskState.FAILED, "invalid_input", "mask: no"), 400, "invalid_input"),
        (TaskFailedError(ID, TaskState.FAILED, "model_error", "broke"), 500, "model_error"),
        (NoRoomError("full"), 429, "rate_limit_exceeded"),
        (RefusedRequestError(429, "quota", "enough", **{"retry-after": "5"}), 429, "quota"),
        (TimeoutError("no broker"), 503, "server_error"),
        (RuntimeError("a secret"), 500, "server_error"),
    ],
    ids=lambda value: type(value).__name__ + str(getattr(value, "code", "")),
)
def test_the_status_says_whose_fault_it_is(error: Exception, status: int, code: str) -> None:
    fault = fault_of(error)

    assert (fault.status, fault.code) == (status, code)
    assert ("retry-after" in fault.headers) == (status == 429)
    assert "secret" not in fault.message


def test_a_fault_of_an_input_names_it() -> None:
    failed = TaskFailedError(ID, TaskState.FAILED, "invalid_input", "mask: 3 x 3 pixels")

    assert fault_of(failed).param == "mask"
    assert isinstance(fault_of(failed), ApiError)
    assert not isinstance(fault_of(failed), PaintMQError)
