"""From HTTP bodies to tasks."""

import base64
import json
from typing import Any

import pytest

from paintmq.errors import InvalidTaskError
from paintmq.gateway.submission import (
    fields_of_batch,
    fields_of_json,
    fields_of_texts,
    is_batch,
    is_json,
)

PNG = b"\x89PNG\r\n\x1a\n and more"


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "opencv", **fields}).encode()


def test_a_json_body_becomes_a_task() -> None:
    encoded = base64.b64encode(PNG).decode()

    task = fields_of_json(
        body(
            task_type="inpaint",
            options={"radius": 5},
            inputs={"image": encoded, "mask": encoded},
            device="cpu",
            priority=3,
            deadline=60,
            max_attempts=1,
            idempotency_key="k",
        )
    ).task()

    assert (task.task_type, task.priority, task.deadline) == ("inpaint", 3, 60)
    assert task.config == {"model": "opencv", "device": "cpu", "radius": 5}
    assert task.inputs == {"image": PNG, "mask": PNG}
    assert (task.max_attempts, task.idempotency_key) == (1, "k")


def test_an_image_with_a_query_becomes_a_task() -> None:
    query = [("model", "opencv"), ("priority", "2"), ("option.radius", "5"), ("option.way", "ns")]

    task = fields_of_texts(query, {"image": PNG}, where="query").task()

    assert task.inputs == {"image": PNG}
    assert task.config == {"model": "opencv", "device": "auto", "radius": 5, "way": "ns"}
    assert (task.task_type, task.priority) == ("plugin", 2)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (b"", "the body cannot be read"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `model`"),
        (body(modle="x"), "unknown field `modle`"),
        (body(inputs={"image": "/etc/passwd!"}), "[Bb]ase64"),
        (body(inputs={"image": {"path": "/etc/passwd"}}), "Expected `bytes`"),
        (body(priority="high"), "Expected `int`"),
        (body(priority=11), "priority"),
        (body(model=3), "Expected `str`"),
        (b"\xff\xfe", "the body cannot be read"),
        (b"[" * 100_000, "the body cannot be read"),
    ],
)
def test_a_json_body_that_describes_no_task_is_refused_in_words(made: bytes, words: str) -> None:
    with pytest.raises(InvalidTaskError, match=words):
        fields_of_json(made).task()


def test_options_cannot_choose_another_model() -> None:
    assert fields_of_json(body(options={"model": "lama"})).task().config["model"] == "opencv"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([], "missing required field `model`"),
        ([("model", "opencv"), ("radius", "5")], "unknown field `radius`"),
        ([("model", "opencv"), ("priority", "high")], "Expected `int`"),
        ([("model", "opencv"), ("inputs", "x")], "Expected `object`"),
    ],
)
def test_a_query_that_cannot_be_used_is_refused_in_words(
    query: list[tuple[str, str]], words: str
) -> None:
    with pytest.raises(InvalidTaskError, match=words):
        fields_of_texts(query, {"image": PNG}, where="query").task()


def test_a_forms_options_come_one_by_one_or_together() -> None:
    texts = [("model", "opencv"), ("options", '{"radius": 5}'), ("option.way", "ns")]

    fields = fields_of_texts(texts, {"image": PNG, "mask": PNG}, where="form")

    assert fields.options == {"radius": 5, "way": "ns"}
    assert set(fields.inputs) == {"image", "mask"}
    with pytest.raises(InvalidTaskError, match="options is no JSON object"):
        fields_of_texts([("model", "x"), ("options", "3")], {}, where="form")


@pytest.mark.parametrize(
    ("data", "declared", "expected"),
    [
        (b' {"model": "x"}', "image/png", True),
        (PNG, "application/json", False),
        (PNG, "", False),
        (b"\xff\xd8\xff\xe0", "application/octet-stream", False),
        (b"[]", "application/json", True),
        (b"no picture either", "image/png", False),
        (b"", "application/json", True),
    ],
)
def test_what_a_body_is_its_bytes_tell(data: bytes, declared: str, expected: bool) -> None:
    assert is_json(data, declared) is expected


def test_a_batch_has_some_tasks_and_not_too_many() -> None:
    one = {"model": "opencv"}

    assert is_batch(b'{ "tasks": []}')
    assert not is_batch(body())
    assert len(fields_of_batch(json.dumps({"tasks": [one] * 3}).encode())) == 3
    for count in (0, 257):
        with pytest.raises(InvalidTaskError, match="1 to 256"):
            fields_of_batch(json.dumps({"tasks": [one] * count}).encode())
