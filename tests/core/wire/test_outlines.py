"""Outlines: only what is readable for certain is let past the encoder unchecked."""

from enum import IntEnum
from typing import Any

import pytest
from attrs import evolve

from paintmq.errors import WireError
from paintmq.task import Fence, PayloadInfo, TaskId, TaskRequest
from paintmq.wire.codec import encode_parts
from paintmq.wire.messages import AttemptFailed, AttemptSucceeded, Submit
from paintmq.wire.outlines import MOST, KnownOutlines, outline_of, outline_of_request

INFO = PayloadInfo(name="image", size=12, digest="xxh3:00", kind="array", shape=(2, 2, 3))
REQUEST = TaskRequest(
    id=TaskId("0" * 32), task_type="plugin", model="echo", inputs=(INFO,), expires_in=2.0
)
ENDING = AttemptSucceeded(task_id=REQUEST.id, fence=Fence(1, 1), outputs=(INFO,), ran=0.5)


def described(**changes: Any) -> PayloadInfo:
    """Return a description that may hold what none should."""
    return evolve(INFO, **changes)


class Text(str):
    """Equal to any text that it looks like, and more than that."""

    __slots__ = ()


class Number(IntEnum):
    THREE = 3


def test_tasks_alike_but_for_their_ids_and_bytes_have_one_outline() -> None:
    other = described(size=40_000, digest="xxh3:ff")

    assert outline_of_request(REQUEST) == outline_of_request(
        evolve(REQUEST, id=TaskId("1" * 32), inputs=(other,))
    )
    assert outline_of(ENDING) == outline_of(
        evolve(ENDING, task_id=TaskId("1" * 32), fence=Fence(2, 7), outputs=(other,), ran=9.0)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"model": Text("echo")},
        {"priority": True},
        {"max_attempts": Number.THREE},
        {"max_attempts": 3.0},
        {"expires_in": 2},
        {"strict": 0},
        {"options": {"steps": 1}},
        {"inputs": ()},
        {"inputs": (described(shape=(2, 2, 3.0)),)},
        {"inputs": (described(width=True),)},
        {"inputs": (described(name=Text("image")),)},
    ],
    ids=str,
)
def test_what_may_make_a_task_unreadable_is_in_its_outline(changes: dict[str, Any]) -> None:
    assert outline_of_request(evolve(REQUEST, **changes)) != outline_of_request(REQUEST)


def test_options_are_alike_only_if_they_are_written_alike() -> None:
    outlines = [
        outline_of_request(evolve(REQUEST, options={"steps": steps})) for steps in (1, True, 1.0, 1)
    ]

    assert len(set(outlines)) == 3
    assert outlines[0] == outlines[3]


@pytest.mark.parametrize(
    "request_",
    [
        evolve(REQUEST, options={"callback": print}),  # type: ignore[dict-item]  # a mistake
        evolve(REQUEST, inputs=(described(size=-1),)),
        evolve(REQUEST, inputs=(described(size=1.5),)),
        evolve(REQUEST, inputs=(described(digest="x" * 10_000),)),
        evolve(REQUEST, inputs=(described(digest="\ud800"),)),
        evolve(REQUEST, inputs=(described(digest=None),)),
    ],
    ids=["option", "size", "kind of size", "long digest", "half a character", "no digest"],
)
def test_what_an_outline_leaves_out_is_looked_at(request_: TaskRequest) -> None:
    known = KnownOutlines()
    known.add(outline_of_request(request_))

    assert outline_of_request(request_) is None
    assert not known.has(None)


@pytest.mark.parametrize("ran", [-1.0, float("nan"), float("inf"), 1, None, Text("1")], ids=repr)
def test_a_time_that_no_message_can_hold_has_no_outline(ran: Any) -> None:
    assert outline_of(evolve(ENDING, ran=ran)) is None


def test_only_successes_have_outlines_among_what_workers_say() -> None:
    assert outline_of(AttemptFailed(task_id=REQUEST.id, fence=Fence(1, 1), error=None)) is None  # type: ignore[arg-type]  # as it happens


def test_few_outlines_are_kept_and_no_long_one() -> None:
    known = KnownOutlines()
    most = 0
    for number in range(3 * MOST):
        outline = outline_of_request(evolve(REQUEST, model=f"model {number}"))
        known.add(outline)
        assert known.has(outline)
        most = max(most, len(known._known))
    long = outline_of_request(evolve(REQUEST, options={"prompt": "x" * 10_000}))
    known.add(long)

    assert most == MOST
    assert not known.has(long)


def test_whoever_shares_an_outline_with_what_is_readable_is_readable() -> None:
    """Of requests that are wrong in one field, none has the outline of one that is right."""
    known = KnownOutlines()
    known.add(outline_of_request(REQUEST))
    wrong: list[dict[str, Any]] = [
        {"task_type": 7},
        {"model": "x" * 40_000},
        {"priority": -1},
        {"run_limit": float("nan")},
        {"tenant": None},
        {"queue": ["cpu"]},
        {"device": "tpu"},
        {"cancel_on_disconnect": "no"},
        {"inputs": (described(kind="other"),)},
        {"inputs": (described(shape=(-2, 2, 3)),)},
        {"inputs": (described(dtype=None),)},
    ]
    for changes in wrong:
        request = evolve(REQUEST, **changes)
        assert not known.has(outline_of_request(request))
        with pytest.raises(WireError):
            encode_parts(Submit(request), check=True)
