"""A Task is checked where it is constructed, and says what would be allowed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paintmq import Task, TaskType
from paintmq.digests import digest_of, is_cryptographic
from paintmq.errors import InvalidInputError, InvalidOptionError, InvalidTaskError
from paintmq.identifiers import new_task_id
from paintmq.task import TaskRequest
from paintmq.task_ids import may_use_id, task_id_for_key

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000020000000108020000007b40e8dd"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


def task(**changes: Any) -> Task:
    arguments: dict[str, Any] = {"task_type": TaskType.INPAINT, "config": {"model": "opencv"}}
    return Task(**(arguments | changes))


def test_the_config_is_parted_into_model_device_and_options() -> None:
    request = task(config={"model": "lama", "device": "cuda", "radius": 5}).prepare().request

    assert (request.model, request.device, request.options) == ("lama", "cuda", {"radius": 5})
    assert request.task_type == "inpaint"


def test_everything_a_task_says_is_in_its_request() -> None:
    given = task(
        priority=9,
        deadline=60.0,
        tenant="studio",
        max_attempts=1,
        run_limit=5,
        cancel_on_disconnect=True,
        strict=True,
    )

    request = given.prepare(queue="cpu-light").request

    assert request.id == given.id
    assert (request.queue, request.priority, request.tenant) == ("cpu-light", 9, "studio")
    assert (request.expires_in, request.run_limit, request.max_attempts) == (60.0, 5, 1)
    assert request.cancel_on_disconnect
    assert request.strict


def test_tasks_have_ids_of_their_own() -> None:
    first, second = task(), task()

    assert first.id != second.id
    assert first.id == first.prepare().request.id


def test_equal_idempotency_keys_of_a_tenant_make_one_task() -> None:
    key = {"idempotency_key": "order-17"}

    assert task(**key).id == task(**key).id == task_id_for_key("", "order-17")
    assert task(**key).id != task(**key, tenant="studio").id


def test_an_owner_has_ids_of_its_own_which_no_other_may_use() -> None:
    of_alice = task_id_for_key("", "order-17", owner="alice")

    assert of_alice == task_id_for_key("", "order-17", owner="alice")
    others = [
        task_id_for_key("", "order-17"),
        task_id_for_key("", "order-17", owner="bob"),
        task_id_for_key("studio", "order-17", owner="alice"),
        task_id_for_key("", "order-18", owner="alice"),
    ]
    assert len({of_alice, *others}) == 5
    assert {task_id[12] for task_id in (of_alice, *others)} == {"8"}
    assert [may_use_id("alice", task_id) for task_id in (of_alice, *others)] == [
        *(True, False, False),
        *(True, True),
    ]
    assert may_use_id("alice", new_task_id())


def test_a_task_type_of_a_third_party_is_given_by_name() -> None:
    assert task(task_type="colourise").prepare().request.task_type == "colourise"


def test_numbers_of_numpy_are_options_like_others() -> None:
    options = task(
        config={"model": "m", "radius": np.float32(2.5), "box": (np.int64(1), 2)}
    ).options

    assert options == {"radius": 2.5, "box": [1, 2]}
    assert type(options["radius"]) is float


def test_changing_the_config_afterwards_does_not_change_the_task() -> None:
    config: dict[str, Any] = {"model": "opencv", "list": [1]}
    made = task(config=config)
    config["model"] = "lama"
    config["list"].append(2)

    assert (made.model, made.options) == ("opencv", {"list": [1]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task_type": ""}, "task_type '' is no task type: use TaskType.INPAINT or"),
        ({"task_type": 3}, "task_type 3 is no task type"),
        ({"config": "opencv"}, "config must be a mapping such as {'model': 'opencv'}, not str"),
        ({"config": {}}, "config names no model"),
        ({"config": {"model": ""}}, "config['model'] is ''"),
        ({"config": {"model": None}}, "config['model'] is None"),
        ({"config": {"model": "m", "device": "tpu"}}, "config['device'] is 'tpu': use auto, cpu"),
        ({"config": {"model": "m", 3: 1}}, "config has the key 3"),
        ({"priority": -1}, "priority -1 is out of range: 0 to 9"),
        ({"priority": 10}, "priority 10 is out of range"),
        ({"priority": 1.5}, "priority 1.5 must be a whole number"),
        ({"priority": True}, "priority True must be a whole number"),
        ({"deadline": 0}, "deadline 0 must be more than 0 seconds"),
        ({"deadline": float("nan")}, "deadline nan must be more than 0"),
        ({"deadline": "soon"}, "deadline 'soon' must be a number of seconds"),
        ({"run_limit": -2.0}, "run_limit -2.0 must be more than 0"),
        ({"max_attempts": 0}, "max_attempts 0 must be a whole number from 1"),
        ({"tenant": 5}, "tenant int 5 must be text"),
        ({"idempotency_key": "k" * 201}, "must be text of at most 200 characters"),
        ({"id": "17"}, "id '17' is no task id"),
        ({"id": 17}, "id 17 is no task id"),
    ],
)
def test_a_mistake_is_reported_where_the_task_is_made(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        task(**changes)

    assert words in str(caught.value)


def test_an_option_that_is_no_plain_value_is_refused_by_name() -> None:
    with pytest.raises(InvalidOptionError, match=r"option 'mask' is ndarray .* belong in inputs"):
        task(config={"model": "m", "mask": np.zeros((2, 2))})


# ---- inputs ------------------------------------------------------------------------------------


def test_an_array_travels_as_its_bytes_with_shape_and_digest() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)

    prepared = task(inputs={"image": image}).prepare()

    (info,) = prepared.request.inputs
    assert bytes(prepared.payloads[0]) == image.tobytes()
    assert (info.name, info.kind, info.dtype, info.shape) == ("image", "array", "uint8", (2, 3, 3))
    assert (info.width, info.height) == (3, 2)
    assert info.digest == digest_of(image.tobytes())


def test_inputs_of_a_task_with_an_idempotency_key_have_digests_that_cannot_be_forged() -> None:
    """Whoever repeats the key is given the result if these digests are equal."""
    inputs = {"image": np.zeros((2, 3, 3), np.uint8), "words": b"hello"}

    keyed = task(inputs=inputs, idempotency_key="order-1").prepare().request
    other = task(inputs=inputs).prepare().request

    assert [is_cryptographic(info.digest) for info in keyed.inputs] == [True, True]
    assert [is_cryptographic(info.digest) for info in other.inputs] == [False, False]


def test_an_array_that_is_not_contiguous_travels_in_its_own_order() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)[::-1, ::-1]

    prepared = task(inputs={"image": image}).prepare()

    assert bytes(prepared.payloads[0]) == image.tobytes()


def test_what_was_prepared_does_not_change_with_the_array() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    prepared = task(inputs={"image": image}).prepare()
    image[:] = 255

    assert set(bytes(prepared.payloads[0])) == {0}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_bytes_of_a_file_travel_as_they_are(kind: type) -> None:
    prepared = task(inputs={"image": kind(PNG)}).prepare()

    (info,) = prepared.request.inputs
    assert bytes(prepared.payloads[0]) == PNG
    assert (info.kind, info.width, info.height) == ("file", 2, 1)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_is_read_when_the_task_is_sent(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"too early")
    given = task(inputs={"image": kind(path)})
    path.write_bytes(PNG)

    assert bytes(given.prepare().payloads[0]) == PNG


def test_an_outline_has_the_sizes_and_does_not_touch_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    inputs = {"a": np.zeros((4, 5, 3), np.uint16), "b": PNG, "c": path, "d": b"text"}
    given = task(inputs=inputs)

    outline, request = given.outline(), given.prepare().request

    def sizes(of: TaskRequest) -> list[tuple[str, int, int, int]]:
        return [(info.name, info.size, info.width, info.height) for info in of.inputs]

    assert sizes(outline) == sizes(request)
    assert {info.digest for info in outline.inputs} == {""}
    assert outline.id == request.id


def test_inputs_keep_their_order() -> None:
    prepared = task(inputs={"mask": b"m", "image": b"i"}).prepare()

    assert [info.name for info in prepared.request.inputs] == ["mask", "image"]
    assert prepared.payloads == (b"m", b"i")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"input 'mask': there is no file '.*nowhere.png'"):
        task(inputs={"mask": tmp_path / "nowhere.png"})


def test_a_file_that_went_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    given = task(inputs={"image": path})
    path.unlink()

    with pytest.raises(InvalidInputError, match="there is no file"):
        given.prepare()


def test_a_folder_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is not a file"):
        task(inputs={"image": str(tmp_path)})


def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    given = task(inputs={"image": path})

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)

    with pytest.raises(InvalidInputError, match=r"cannot read '.*image.png': Permission denied"):
        given.prepare()


@pytest.mark.parametrize("value", [None, 3, 1.5, [[1, 2]], object()])
def test_anything_else_is_refused_with_its_name_and_the_remedy(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"input 'image' is .*give a NumPy array"):
        task(inputs={"image": value})


def test_an_array_no_model_takes_is_refused_in_words() -> None:
    with pytest.raises(InvalidInputError, match="complex128"):
        task(inputs={"image": np.zeros((2, 2), np.complex128)}).prepare()


@pytest.mark.parametrize(("inputs", "words"), [([1], "must be a mapping"), ({1: b""}, "the key 1")])
def test_inputs_go_by_name(inputs: object, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        task(inputs=inputs)
