"""Many messages as one item: whatever the members, they arrive as if each had come alone."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.message_strategies import messages, payload_infos

from paintmq.errors import WireError
from paintmq.task import Fence, TaskError, TaskId, TaskRequest, TaskState
from paintmq.wire.frames import KIND_OF
from paintmq.wire.messages import (
    Accepted,
    AttemptRecorded,
    AttemptSucceeded,
    Cancel,
    Finished,
    Message,
    ResultReceived,
    Submit,
)
from paintmq.wire.runs import MAX_RUN_BYTES, MOST_RECEIVED, RUN_KINDS, decode_run, encode_run

IDS = [TaskId(f"{number:032x}") for number in range(1, MOST_RECEIVED + 2)]


def there_and_back(members: Sequence[Message]) -> list[Message]:
    return decode_run(RUN_KINDS[type(members[0])], encode_run(members))


def read(cls: type[Any], body: object) -> list[Message]:
    return decode_run(KIND_OF[cls], msgspec.msgpack.encode(body))


def refused(cls: type[Any], body: object) -> str:
    with pytest.raises(WireError) as caught:
        read(cls, body)
    return str(caught.value)


def asking(number: int, **fields: Any) -> Submit:
    return Submit(TaskRequest(id=IDS[number], task_type="inpaint", model="lama", **fields))


@given(st.sampled_from(list(RUN_KINDS)).flatmap(lambda cls: st.lists(messages(cls), min_size=1)))
def test_members_arrive_as_they_were_in_order(members: list[Message]) -> None:
    assert there_and_back(members) == members


def test_what_all_have_in_common_is_said_once() -> None:
    members = [asking(n, options={"radius": 5}, tenant="a tenant") for n in range(50)]
    body = encode_run(members)

    assert body.count(b"a tenant") == body.count(b"radius") == 1
    assert len(body) < 50 * 16 + 150
    assert there_and_back(members) == members


def test_a_value_that_python_takes_for_equal_to_anothers_stays_what_it_was() -> None:
    members = [asking(n, options={"value": value}) for n, value in enumerate((1, True, 1.0))]

    kinds = [
        type(message.task.options["value"])
        for message in there_and_back(members)
        if isinstance(message, Submit)
    ]
    assert kinds == [int, bool, float]


def test_options_of_one_object_need_not_be_encoded_to_be_found_equal() -> None:
    options = {"radius": 1}
    members = [asking(n, options=options) for n in range(2)]

    assert there_and_back(members) == members


def test_fences_of_one_incarnation_may_differ_in_their_attempts_and_the_other_way_round() -> None:
    for fences in ([(1, 1), (1, 2)], [(1, 2), (3, 2)], [(1, 2), (3, 4)], [(5, 6), (5, 6)]):
        members = [
            AttemptRecorded(task_id=IDS[n], fence=Fence(*fence)) for n, fence in enumerate(fences)
        ]
        assert there_and_back(members) == members


def test_an_error_in_one_member_is_its_own() -> None:
    error = TaskError(code="model_error", message="no")
    members = [
        Finished(task_id=IDS[0], state=TaskState.FAILED, error=error),
        Finished(task_id=IDS[1], state=TaskState.SUCCEEDED, outputs=payload_infos([3])),
    ]

    assert there_and_back(members) == members


def test_a_value_without_a_form_on_the_wire_is_refused_where_the_run_is_written() -> None:
    members = [asking(0, options={"a": object()}), asking(1)]
    with pytest.raises(WireError, match="this run of Submit cannot be sent"):
        encode_run(members)


def test_a_run_too_large_to_be_read_is_not_written() -> None:
    members = [asking(n, options={"text": "x" * 32_000 + str(n)}) for n in range(40)]
    with pytest.raises(WireError, match="too large"):
        encode_run(members)


def test_a_run_above_the_limit_is_refused_unread() -> None:
    with pytest.raises(WireError, match="too large"):
        decode_run(KIND_OF[ResultReceived], bytes(MAX_RUN_BYTES + 1))


def test_a_kind_that_does_not_come_in_runs_is_refused() -> None:
    assert "do not come in runs" in refused(Cancel, {"ids": bytes(16)})


@pytest.mark.parametrize("size", [0, 15, 17, 16 * MOST_RECEIVED + 16])
def test_ids_are_some_times_16_bytes_and_not_too_many(size: int) -> None:
    assert refused(ResultReceived, {"ids": bytes(size)})


def test_as_many_members_as_are_allowed_are_read() -> None:
    members = read(ResultReceived, {"ids": bytes(16 * MOST_RECEIVED)})
    assert members == [ResultReceived(TaskId("0" * 32))] * MOST_RECEIVED


TWO = bytes(32)
SAME, EACH = {"queue": "cpu", "durable_sequence": 1}, {"queue": ["a", "b"]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"ids": TWO, "same": {"queue": "cpu"}}, "without durable_sequence"),
        ({"ids": TWO, "same": SAME, "each": EACH}, "other than 2 of queue"),
        ({"ids": TWO, "same": {"durable_sequence": 1}, "each": {"queue": ["a"]}}, "of queue"),
        ({"ids": TWO, "same": SAME | {"colour": 1}}, "unknown field"),
        ({"ids": TWO, "same": SAME, "more": 1}, "unknown field"),
        ({"ids": TWO, "same": SAME | {"queue": 5}}, "Expected `str`"),
        ({"ids": TWO, "same": SAME, "each": {"state": ["queued", "lost"]}}, "Invalid enum"),
        ({"same": SAME}, "missing required field `ids`"),
    ],
)
def test_a_run_is_checked_as_its_members_would_be(body: object, reason: str) -> None:
    assert reason in refused(Accepted, body)


@pytest.mark.parametrize(
    "fences",
    [
        {"same": {"attempt": 1}},
        {"same": {"incarnation": 1}},
        {"same": {"attempt": 1, "incarnation": 1}, "each": {"attempt": [1, 2]}},
        {"same": {"attempt": 1}, "each": {"incarnation": [1]}},
        {"same": {"attempt": 1 << 32, "incarnation": 1}},
        {"same": {"attempt": 1, "incarnation": 1 << 63}},
    ],
)
def test_a_fence_that_no_header_could_hold_is_refused(fences: dict[str, object]) -> None:
    assert refused(AttemptRecorded, {"ids": TWO} | fences)


def test_members_without_what_they_must_have_are_refused() -> None:
    body = {"ids": TWO, "same": {"attempt": 1, "incarnation": 1, "ran": 0.5}}
    assert "without outputs" in refused(AttemptSucceeded, body)


def test_json_within_a_run_is_checked_as_elsewhere() -> None:
    deep: object = 1
    for _ in range(20):
        deep = [deep]
    body = {"ids": TWO, "same": {"task_type": "a", "model": "b", "options": {"deep": deep}}}
    assert "levels deep" in refused(Submit, body)
