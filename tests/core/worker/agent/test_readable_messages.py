"""Whatever a model puts into an answer, the broker gets one that it can read."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from paintmq.task import Fence, PayloadInfo, TaskError, TaskId
from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptSucceeded,
    Draining,
    FromWorker,
    Heartbeat,
    ModelLoaded,
    ModelUnloaded,
)
from paintmq.worker.agent.readable_messages import as_readable, objection_to

KEY: dict[str, Any] = {"task_id": TaskId("0" * 32), "fence": Fence(1, 1)}
LONG = "x" * 100_000
SURROGATE = "\ud800"


def output(name: str = "image", size: int = 0) -> PayloadInfo:
    return PayloadInfo(name=name, size=size, digest="0" * 64, kind="file")


def succeeded(*outputs: PayloadInfo, ran: float = 0.1) -> AttemptSucceeded:
    return AttemptSucceeded(**KEY, outputs=outputs, ran=ran)


def failed(**changes: Any) -> AttemptFailed:
    return AttemptFailed(**KEY, error=TaskError(**{"code": "odd", "message": "it", **changes}))


def test_what_can_be_read_is_sent_as_it_is() -> None:
    message = succeeded(output(size=3))

    assert as_readable(message, [b"abc"]) is message
    assert as_readable(Heartbeat()) == Heartbeat()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (succeeded(*[output()] * 1025), "too_large"),
        (succeeded(output(LONG)), "model_error"),
        (succeeded(output(SURROGATE)), "model_error"),
        (succeeded(output(size=1 << 64)), "model_error"),
        (succeeded(output(), ran=float("nan")), "model_error"),
        (succeeded(output(), ran=-1.0), "model_error"),
        (failed(code=LONG), "model_error"),
        (failed(message=SURROGATE), "model_error"),
        (failed(traceback=SURROGATE), "model_error"),
    ],
)
def test_an_ending_that_cannot_be_read_becomes_a_failure_that_can(
    message: AttemptSucceeded | AttemptFailed, code: str
) -> None:
    payloads = [] if isinstance(message, AttemptFailed) else [b""] * len(message.outputs)

    instead = as_readable(message, payloads)

    assert isinstance(instead, AttemptFailed)
    assert (instead.task_id, instead.fence, instead.error.code) == (*KEY.values(), code)
    assert objection_to(instead) == ""


def test_a_failure_stays_as_retryable_as_it_was() -> None:
    for retryable in (False, True):
        instead = as_readable(failed(code=LONG, retryable=retryable))
        assert isinstance(instead, AttemptFailed)
        assert instead.error.retryable is retryable


def test_a_result_without_its_payloads_is_a_failure() -> None:
    instead = as_readable(succeeded(output(size=3)), [b"too long"])

    assert isinstance(instead, AttemptFailed)
    assert "payloads are not those" in instead.error.message


@pytest.mark.parametrize(
    ("message", "instead"),
    [
        (
            AttemptCrashed(**KEY, alone=True, detail=f"died: {SURROGATE}"),
            AttemptCrashed(**KEY, alone=True, detail="died: ?"),
        ),
        (ModelUnloaded(model="m", error=SURROGATE), ModelUnloaded(model="m", error="?")),
        (Draining(SURROGATE), Draining("?")),
        (AttemptProgressed(**KEY, step=-1, total=3), None),
        (ModelLoaded(model="m", seconds=float("inf"), memory_mb=1), None),
        (ModelUnloaded(model=LONG), None),
    ],
)
def test_anything_else_is_told_as_far_as_it_can_be(
    message: FromWorker, instead: FromWorker | None
) -> None:
    assert as_readable(message) == instead


def test_a_progress_whose_preview_cannot_be_sent_is_told_without_it() -> None:
    message = AttemptProgressed(**KEY, step=1, total=3, preview=(output(SURROGATE),))

    assert as_readable(message, [b""]) == evolve(message, preview=())


def test_text_without_end_is_cut() -> None:
    instead = as_readable(Draining(LONG))

    assert isinstance(instead, Draining)
    assert len(instead.reason) < 5000
    assert instead.reason.endswith(" …")


@given(
    names=st.lists(st.text(), max_size=3),
    code=st.text(),
    message=st.text(),
    ran=st.floats(),
    sizes=st.integers(),
)
def test_no_ending_stays_unsaid(
    names: list[str], code: str, message: str, ran: float, sizes: int
) -> None:
    endings: list[FromWorker] = [
        succeeded(*(output(name, sizes) for name in names), ran=ran),
        AttemptFailed(**KEY, error=TaskError(code=code, message=message), ran=ran),
        AttemptCrashed(**KEY, alone=False, detail=message),
    ]
    for ending in endings:
        instead = as_readable(ending, [b""] * len(names) if ending is endings[0] else ())
        assert instead is not None
        assert objection_to(instead, ()) == "" or instead is ending
