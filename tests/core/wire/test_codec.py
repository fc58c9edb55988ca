"""Messages as bytes: what goes in comes out, and whatever else comes in is refused."""

from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.message_strategies import MESSAGE_CLASSES, any_message, messages

from paintmq.errors import VersionMismatchError, WireError
from paintmq.task import Fence, Json, TaskError, TaskId, TaskRequest, TaskState
from paintmq.wire import messages as m
from paintmq.wire.body_schema import MAX_ERROR_TEXT, MAX_TRACEBACK, Schema
from paintmq.wire.codec import LARGE_BODY_BYTES, MAX_BODY_BYTES, decode, encode, encode_parts
from paintmq.wire.frames import (
    HEADER_BYTES,
    KIND_OF,
    Header,
    unpack_header,
)

TASK = TaskId("0123456789abcdef" * 2)


def with_body(kind: int, value: Any, *, task_id: str = TASK) -> bytes:
    body = msgspec.msgpack.encode(value)
    return Header(kind, len(body), bytes.fromhex(task_id)).pack() + body


def ask(value: Any) -> bytes:
    return with_body(KIND_OF[m.Ask], {"request_id": 1, "subject": "why", "arguments": value})


def nested(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("cls", MESSAGE_CLASSES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_every_message_comes_back_as_it_was(cls: type[m.Message], data: st.DataObject) -> None:
    message = data.draw(messages(cls))

    assert decode(encode(message)) == message


ODD: list[Any] = [
    None,
    True,
    -1,
    2**63,
    2**80,
    1e16,
    float("nan"),
    "x" * 40_000,
    "\ud800",
    b"x",
    [],
    {},
    (),
]


@given(message=any_message, data=st.data())
def test_what_passes_the_check_can_be_read_and_what_does_not_cannot(
    message: m.Message, data: st.DataObject
) -> None:
    if fields := [field.name for field in attrs.fields(type(message)) if field.name != "fence"]:
        name, value = data.draw(st.sampled_from(fields)), data.draw(st.sampled_from(ODD))
        message = attrs.evolve(message, **{name: value})
    try:
        encode_parts(message, check=True)
    except WireError:
        with pytest.raises(WireError):
            decode(encode(message))
    else:
        decode(encode(message))


def test_every_message_of_the_unions_has_a_kind_of_its_own() -> None:
    unions = (m.FromClient, m.ToClient, m.FromWorker, m.ToWorker)
    classes = {cls for union in unions for cls in union.__args__}

    assert classes == set(KIND_OF)
    assert len(set(KIND_OF.values())) == len(KIND_OF)


def test_task_id_and_fence_are_read_from_the_header_alone() -> None:
    data = encode(m.AttemptRecorded(task_id=TASK, fence=Fence(5, 2)))

    header = unpack_header(data)

    assert (len(data), header.task_id.hex(), header.fence) == (HEADER_BYTES, TASK, Fence(5, 2))


def test_a_broker_finds_the_task_of_a_submission_without_reading_the_body() -> None:
    data = encode(m.Submit(TaskRequest(id=TASK, task_type="inpaint", model="lama")))

    assert unpack_header(data).task_id.hex() == TASK


def test_fields_at_their_default_are_not_sent() -> None:
    data = encode(m.Heartbeat())

    assert len(data) == HEADER_BYTES
    assert decode(data) == m.Heartbeat()


def test_a_submission_whose_header_names_another_task_is_refused() -> None:
    data = encode(m.Submit(TaskRequest(id=TASK, task_type="inpaint", model="lama")))
    other = unpack_header(data)._replace(task_id=bytes(16))

    with pytest.raises(WireError, match="another task"):
        decode(other.pack() + data[HEADER_BYTES:])


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


@given(message=any_message, data=st.data())
def test_a_truncated_message_is_refused(message: m.Message, data: st.DataObject) -> None:
    whole = encode(message)
    length = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(WireError):
        decode(whole[:length])


@given(message=any_message, data=st.data())
def test_a_damaged_message_is_refused_or_is_another_message(
    message: m.Message, data: st.DataObject
) -> None:
    damaged = bytearray(encode(message))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    try:
        received = decode(damaged)
    except WireError:
        return
    assert decode(encode(received)) == received


def test_another_version_is_refused_as_such() -> None:
    data = bytearray(encode(m.ClientHello(newest=9)))
    data[2] = 9

    with pytest.raises(VersionMismatchError, match="version 9; 1 to 1") as caught:
        decode(data)
    assert caught.value.version == 9


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too few for a header"),
        (b"HTTP/1.1 200 OK" + bytes(40), "no PaintMQ message"),
        (Header(0x7F).pack(), "no message of kind 0x7f"),
        (Header(KIND_OF[m.WhoAreYou], 1).pack() + b"\x80", "WhoAreYou has no body"),
        (Header(KIND_OF[m.Refused]).pack(), "missing required field `reason`"),
        (with_body(KIND_OF[m.Refused], {"reason": 5}), "Expected `str`"),
        (with_body(KIND_OF[m.Refused], {"reason": "no", "why": 1}), "unknown field `why`"),
        (with_body(KIND_OF[m.Refused], ["no"]), "Expected `object`"),
        (Header(KIND_OF[m.Refused], 1).pack() + b"\xc1", "cannot be read"),
        (with_body(KIND_OF[m.Drain], {"grace": float("nan")}), "grace"),
        (with_body(KIND_OF[m.Drain], {"grace": -1.0}), "grace"),
        (with_body(KIND_OF[m.ModelLoaded], {"model": "a", "seconds": 1, "memory_mb": -1}), ">= 0"),
        (with_body(KIND_OF[m.Ask], {"request_id": 2**64 - 1, "subject": ""}), "request_id"),
        (with_body(KIND_OF[m.Query], {"task_ids": ["../etc/passwd"]}), "task_ids"),
        (with_body(KIND_OF[m.Query], {"task_ids": [TASK + "\n"]}), "task_ids"),
        (with_body(KIND_OF[m.Query], {"task_ids": [TASK] * 4_097}), "length <= 4096"),
        (with_body(KIND_OF[m.Preload], {"model": "x" * 32_769}), "length <= 32768"),
        (ask({"x": nested(8)}), "8 levels deep"),
        (ask({"x": [0] * 4_097}), "4097 items"),
        (ask({"x": dict.fromkeys(map(str, range(4_097)))}), "4097 items"),
        (ask({str(i): i for i in range(257)}), "length <= 256"),
        (ask({"x": "y" * 32_769}), "32769 characters"),
        (ask({"x": float("inf")}), "inf is no JSON number"),
        (ask({"x": b"bytes"}), "type bytes is no JSON value"),
        (ask({"x": {1: 2}}), "type int is no JSON key"),
        (ask({"x": msgspec.msgpack.Ext(5, b"")}), "type Ext"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        decode(data)


def test_an_incarnation_of_64_bits_is_refused() -> None:
    data = bytearray(encode(m.AttemptRecorded(task_id=TASK, fence=Fence(0, 0))))
    data[32:40] = b"\xff" * 8

    with pytest.raises(WireError, match="63 bits"):
        decode(data)


def test_nesting_without_end_is_refused() -> None:
    body = b"\x83\xaarequest_id\x01\xa7subject\xa1a\xa9arguments\x81\xa1a" + b"\x91" * 60_000
    data = Header(KIND_OF[m.Ask], len(body)).pack() + body

    with pytest.raises(WireError):
        decode(data)


@pytest.mark.parametrize(
    ("cls", "most"), [(m.Refused, MAX_BODY_BYTES), (m.Answer, LARGE_BODY_BYTES)]
)
def test_a_body_above_its_limit_is_refused_before_it_is_read(
    cls: type[m.Message], most: int
) -> None:
    data = Header(KIND_OF[cls], most + 1).pack() + bytes(most + 1)

    with pytest.raises(WireError, match=f"too large: {most} at most"):
        decode(data)


def test_a_message_too_large_is_refused_where_it_is_sent() -> None:
    answer = m.Answer(request_id=1, value=["x" * 30_000] * 40)

    with pytest.raises(WireError, match="Answer of 1200"):
        encode(answer)


@pytest.mark.parametrize(
    "value", [float("nan"), b"bytes", object(), {1: 2}, 2**70, nested(9), "\ud800"]
)
def test_an_option_that_is_no_json_is_refused_where_it_is_sent(value: Any) -> None:
    request = TaskRequest(id=TASK, task_type="inpaint", model="lama", options={"x": value})

    with pytest.raises(WireError):
        encode(m.Submit(request))


def test_a_task_id_that_is_none_is_refused_where_it_is_sent() -> None:
    with pytest.raises(WireError, match="UnknownTask cannot be sent"):
        encode(m.UnknownTask(TaskId("no id")))


def test_the_ending_of_an_attempt_gets_through_however_much_its_model_had_to_say() -> None:
    error = TaskError(code="model_error", message="m" * 10**6, traceback="t" * 10**6 + "the end")

    received = decode(encode(m.AttemptFailed(task_id=TASK, fence=Fence(1, 1), error=error)))

    assert isinstance(received, m.AttemptFailed)
    assert len(received.error.message) == MAX_ERROR_TEXT
    assert len(received.error.traceback) == MAX_TRACEBACK
    assert received.error.traceback.endswith("the end")


def test_an_error_that_is_absent_stays_absent() -> None:
    finished = m.Finished(task_id=TASK, state=TaskState.CANCELLED)

    assert decode(encode(finished)) == finished


def test_a_message_with_a_field_that_has_no_form_is_a_mistake_of_ours() -> None:
    import attrs

    @attrs.frozen
    class Odd:
        what: complex

    with pytest.raises(TypeError, match="`what`"):
        Schema(Odd)


def test_a_message_that_does_more_when_it_is_made_cannot_be_one() -> None:
    """It would be decoded without: the decoder fills the fields itself."""

    @attrs.frozen
    class Checked:
        size: int = attrs.field(validator=attrs.validators.ge(0))

    with pytest.raises(TypeError, match="Checked does more"):
        Schema(Checked)
