"""What a model returned travels, or is refused with a reason and a code."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from tests.harness.odd_values import VALUES, Hostile, OddText
from tests.harness.worker_bench import key_of

from paintmq.config import Limits
from paintmq.errors import ModelError
from paintmq.model import Request
from paintmq.task import Fence
from paintmq.wire.codec import decode, encode
from paintmq.wire.messages import AttemptSucceeded
from paintmq.wire.transfer import MAX_PAYLOADS
from paintmq.worker.host.model_outputs import LONGEST_NAME, are_shared, make_outputs
from paintmq.worker.host.original_pixels import Original

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
PLAIN = Original(pixels=None, icc_profile=None)


def outputs_of(outputs: Any, limits: Limits | None = None) -> Any:
    return make_outputs(PLAIN, outputs, limits or Limits())


def test_arrays_and_bytes_become_payloads() -> None:
    image, note = outputs_of({"image": IMAGE[:, ::2], "note": b"text"})

    assert (image[0].kind, image[0].shape, note[0].kind) == ("array", (4, 3, 3), "file")
    assert bytes(note[1]) == b"text"


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        (None, "returned NoneType"),
        ({}, "returned dict, not outputs"),
        ({"image": "text"}, "output 'image' is str"),
        ({"image": IMAGE.astype(np.float32)}, "output 'image' is float32"),
        ({"image": IMAGE[:0]}, "cannot be sent"),
        ({"image": np.zeros((1,) * 9, np.uint8)}, "has 9 dimensions"),
        ({"n" * (LONGEST_NAME + 1): b""}, "a name is text of 1 to 255 characters"),
        ({"": b""}, "an output is named ''"),
        ({7: b""}, "an output is named 7"),
        ({"\ud800": b""}, "which is no valid Unicode"),
    ],
)
def test_anything_else_is_the_models_fault(outputs: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        outputs_of(outputs)
    assert caught.value.code == "invalid_output"
    assert not caught.value.retryable


@pytest.mark.parametrize("value", VALUES)
def test_odd_values_are_no_outputs(value: str) -> None:
    if value == "bytes":
        assert outputs_of({"image": VALUES[value]})
        return
    with pytest.raises((ModelError, SystemExit)):
        outputs_of({"image": VALUES[value]})
    with pytest.raises((ModelError, SystemExit)):
        outputs_of(VALUES[value])


@pytest.mark.parametrize(
    ("outputs", "limits", "reason"),
    [
        (
            {"image": IMAGE},
            Limits(max_payload_bytes=50),
            r"72 bytes; 50 are allowed: use a smaller",
        ),
        ({"a": IMAGE, "b": IMAGE}, Limits(max_task_bytes=100), r"144 bytes; 100 .*max_task_bytes"),
        (
            {"image": np.broadcast_to(IMAGE[:1, :1], (10**6, 10**6, 3))},
            Limits(),
            r"3,000,000,000,000 bytes",
        ),
        ({str(n): b"" for n in range(MAX_PAYLOADS + 77)}, Limits(), "1101 outputs; at most 1024"),
    ],
    ids=["one", "together", "a view of little", "many"],
)
def test_outputs_over_a_limit_are_refused_with_the_remedy(
    outputs: Any, limits: Limits, reason: str
) -> None:
    """Before they are copied: what is too large is not to take memory as well."""
    with pytest.raises(ModelError, match=reason) as caught:
        outputs_of(outputs, limits)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("length", [4, 100, LONGEST_NAME])
def test_as_many_outputs_as_are_taken_reach_the_broker(length: int) -> None:
    """With the most of each length of name, the message is read; with one more it is refused."""

    def named(count: int) -> dict[str, bytes]:
        return {f"{number:04}{'ü' * (length - 4)}": b"x" for number in range(count)}

    def is_taken(count: int) -> bool:
        try:
            return bool(outputs_of(named(count)))
        except ModelError as error:
            assert error.code == "too_large"  # noqa: PT017 -- either may happen
            return False

    most = bisect_right(range(1, MAX_PAYLOADS), False, key=lambda count: not is_taken(count))
    infos = tuple(info for info, _ in outputs_of(named(most)))
    message = AttemptSucceeded(task_id=key_of(1)[0], fence=Fence(1, 1), outputs=infos, ran=0.1)

    assert most > 50
    assert decode(encode(message)) == message
    assert not is_taken(most + 1)


def test_a_name_in_disguise_becomes_plain_text() -> None:
    class Named(Mapping[str, bytes]):
        def __getitem__(self, name: str) -> bytes:
            return b"x"

        def __iter__(self) -> Any:
            return iter(["image"])

        def __len__(self) -> int:
            return 1

    ((info, _),) = outputs_of(Named())

    assert info.name == "image"
    with pytest.raises(SystemExit):  # its runner tells of that
        outputs_of({"a": Hostile(), OddText("image"): b"x"})


def test_the_colour_profile_goes_with_the_image() -> None:
    request = Request(task_id=key_of(1)[0], options=None, inputs={}, icc_profile=b"profile")
    original = Original(pixels=None, icc_profile=request.icc_profile)

    (_, _), (info, profile) = make_outputs(original, {"image": IMAGE}, Limits())

    assert (info.name, bytes(profile)) == ("icc_profile", b"profile")
    ((only, _),) = make_outputs(original, {"note": b"x"}, Limits())
    assert only.name == "note"


BUFFER = np.zeros((2, 4, 6, 3), np.uint8)
BYTES = bytearray(100)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (IMAGE, IMAGE, True),
        (IMAGE, IMAGE[::-1], True),
        (IMAGE, IMAGE[2:3, 4:5], True),
        (BUFFER[0], BUFFER[1], False),
        (BUFFER[0].transpose(1, 0, 2), BUFFER[1].transpose(1, 0, 2), False),
        (BUFFER[:, :, :, 0], BUFFER[:, :, :, 1], False),
        (BUFFER[..., 0], BUFFER[..., ::-1][..., 2], True),
        (BYTES, BYTES, True),
        (BYTES, np.frombuffer(BYTES, np.uint8)[7:9], True),
        (memoryview(BYTES)[:50], memoryview(BYTES)[50:], False),
        (b"the same", b"the same", False),
        (IMAGE, IMAGE.copy(), False),
        (IMAGE[:0], IMAGE[:0], False),
        (bytearray(), bytearray(), False),
        (None, 7, False),
    ],
)
def test_only_arrays_of_two_tasks_that_lie_over_one_another_are_shared(
    first: Any, second: Any, shared: bool
) -> None:
    assert are_shared([{"image": first}, {"image": second}]) == shared
    assert are_shared([{"image": second}, {"other": b"x", "image": first}]) == shared
    assert not are_shared([{"image": first, "other": second}, {"image": b"x"}, "no outputs"])


def test_among_many_arrays_the_two_that_are_shared_are_found() -> None:
    pool = np.zeros((64, 8, 8, 3), np.uint8)

    assert not are_shared([{"image": each, "note": b""} for each in pool])
    assert are_shared([*({"image": each} for each in pool), {"image": pool[:, 0]}])
