"""Pixels outside an inpainting mask never change, whatever the model does (I23)."""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.harness.worker_bench import key_of

from paintmq.config import Limits
from paintmq.errors import ModelError
from paintmq.image import encode_image, payload_of_array, payload_of_bytes
from paintmq.model import InputSpec, ModelSpec, Request
from paintmq.task import Buffer, PayloadInfo
from paintmq.worker.channel.messages import RunItem
from paintmq.worker.host.model_outputs import make_outputs
from paintmq.worker.host.original_pixels import Original, OriginalPixels
from paintmq.worker.host.request_payloads import make_request

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 2:4] = 255
SPEC = ModelSpec(
    name="alpha",
    implementation="nowhere:Model",
    inputs=(InputSpec(name="image"), InputSpec(name="mask", kind="mask")),
)


def prepared(
    *payloads: tuple[PayloadInfo, Buffer], task_type: str = "inpaint"
) -> tuple[Request, Original]:
    """Return what a model gets, and what its host keeps."""
    task_id, fence = key_of(1)
    infos = tuple(info for info, _ in payloads)
    item = RunItem(task_id=task_id, fence=fence, task_type=task_type, options={}, inputs=infos)
    # As from a socket: bytes that belong to this task alone, and that can be written to.
    data = [bytearray(memoryview(data).tobytes()) for _, data in payloads]
    request = make_request(SPEC, item, data, Limits())
    return request, Original.of(item, request)


def held(original: Original, result: Any) -> "NDArray[Any]":
    (info, data), *_ = make_outputs(original, {"image": result}, Limits())
    return np.frombuffer(data, info.dtype).reshape(info.shape)


@pytest.mark.parametrize(
    ("returned", "told"), [({}, ""), ({"note": b"seed 7"}, "; seed 7"), ({"note": "no bytes"}, "")]
)
def test_a_mask_over_everything_is_told_in_the_note(returned: dict[str, Any], told: str) -> None:
    whole = np.full_like(MASK, 255)
    _, original = prepared(payload_of_array("image", IMAGE), payload_of_array("mask", whole))
    _, partly = prepared(payload_of_array("image", IMAGE), payload_of_array("mask", MASK))

    outputs = make_outputs(original, {"image": IMAGE, **returned}, Limits())
    notes = [bytes(data).decode() for info, data in outputs if info.name == "note"]

    assert notes == ["the mask covers the whole picture, so nothing of it was kept" + told]
    assert partly.note == ""


@pytest.mark.parametrize("fills", [True, False])
def test_it_is_told_whatever_type_the_task_has_if_the_model_fills_masks(fills: bool) -> None:
    task_id, fence = key_of(1)
    item = RunItem(task_id=task_id, fence=fence, task_type="plugin", options={}, inputs=())
    request = Request(
        task_id=task_id, options=None, inputs={"image": IMAGE, "mask": np.full_like(MASK, 255)}
    )

    original = Original.of(item, request, fills_mask=fills)

    assert ("covers the whole picture" in original.note) == fills
    assert original.pixels is None


def test_only_inpainting_is_held_to_the_mask() -> None:
    payloads = payload_of_array("image", IMAGE), payload_of_array("mask", MASK)
    filled = np.full_like(IMAGE, 9)
    _, free = prepared(*payloads, task_type="plugin")
    _, bound = prepared(*payloads)

    assert set(held(free, filled).flat) == {9}
    assert (held(bound, filled) == np.where(MASK[:, :, None] > 0, 9, IMAGE)).all()


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, "no output 'image'"),
        (IMAGE[:3], "shape"),
        (IMAGE.astype(np.uint16), "uint16"),
        (np.zeros((4, 6, 1), np.uint8), "1 channels for 3"),
        (np.zeros((4, 6), np.uint8), "shape"),
    ],
)
def test_a_result_that_cannot_be_held_to_the_mask_is_refused(result: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        OriginalPixels.of(IMAGE, MASK).with_filled(result)


def test_transparency_that_the_model_dropped_is_kept() -> None:
    image = np.dstack([IMAGE, MASK])

    kept = OriginalPixels.of(image, MASK).with_filled(np.full_like(IMAGE, 9))

    assert (kept[:, :, 3] == image[:, :, 3]).all()
    assert (kept[MASK > 0, :3] == 9).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16]), st.sampled_from([3, 4]))
def test_pixels_outside_the_mask_never_change(seed: int, dtype: Any, channels: int) -> None:
    """I23: whatever the model paints."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 20, 2))
    image, result = rng.integers(0, 255, (2, height, width, channels)).astype(dtype)
    mask = np.where(rng.random((height, width)) < 0.5, 255, 0).astype(np.uint8)

    kept = OriginalPixels.of(image, mask).with_filled(result)

    assert (kept[mask == 0] == image[mask == 0]).all()
    assert (kept[mask != 0] == result[mask != 0]).all()


# ---- models that write where they may not ------------------------------------------------------


def by_flags(array: "NDArray[Any]") -> None:
    array.setflags(write=True)
    array[...] = 7


def by_base(array: "NDArray[Any]") -> None:
    base: Any = array.base
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    view = np.frombuffer(base, np.uint8) if not isinstance(base, np.ndarray) else base
    view.setflags(write=True)
    view[...] = 7


def by_out(array: "NDArray[Any]") -> None:
    array.setflags(write=True)
    np.bitwise_xor(array, 255, out=array)


def by_address(array: "NDArray[Any]") -> None:
    assert array.flags.c_contiguous
    ctypes.memset(array.ctypes.data, 7, array.nbytes)


def by_swap(array: "NDArray[Any]") -> None:
    """Only what the request holds is replaced: see ``paint``."""


WAYS: list[Callable[["NDArray[Any]"], None]] = [by_flags, by_base, by_out, by_address, by_swap]


def paint(request: Request, way: Callable[["NDArray[Any]"], None]) -> None:
    """Change the inputs this way, as a model that does not know better, or knows too much."""
    for name, array in dict(request.inputs).items():
        with suppress(ValueError, TypeError):  # arrays that own nothing refuse some ways
            way(array)
        if way is by_swap:
            inputs: Any = request.inputs
            inputs[name] = np.full_like(array, 255)
            object.__setattr__(request, "icc_profile", b"")


def payload(name: str, array: "NDArray[Any]", form: str) -> tuple[PayloadInfo, Buffer]:
    if form == "array":
        return payload_of_array(name, array)
    return payload_of_bytes(name, encode_image(array, form))


@st.composite
def pictures(draw: st.DrawFn) -> "tuple[NDArray[Any], str]":
    """Draw an image of any depth and number of channels, and the form it comes in."""
    dtype: Any = draw(st.sampled_from([np.uint8, np.uint16]))
    form = draw(st.sampled_from(["array", "png", "tiff"]))
    channels = draw(st.sampled_from([1, 3, 4]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    image = rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels)).astype(dtype)
    return (image[:, :, 0] if channels == 1 else image), form


@given(
    pictures(),
    st.sampled_from(["uint8", "uint16", "bool", "float32", "png"]),
    st.sampled_from(WAYS),
    st.integers(0, 2**32 - 1),
)
def test_a_model_that_writes_into_its_inputs_changes_nothing_outside_the_mask(
    picture: "tuple[NDArray[Any], str]", kind: str, way: Any, seed: int
) -> None:
    """I23: of every kind and depth, and whichever way it gets at the memory."""
    array, form = picture
    rng = np.random.default_rng(seed)
    filled = rng.random(array.shape[:2]) < 0.5
    filled[-1, -1] = True  # a mask that fills nothing is refused
    largest = {"uint8": 255, "uint16": 65535, "bool": True, "float32": 1.0, "png": 255}[kind]
    mask = np.where(filled, largest, 0).astype("uint8" if kind == "png" else kind)
    sent = payload("image", array, form), payload("mask", mask, "png" if kind == "png" else "array")
    untouched, _ = prepared(*sent)
    before = untouched.inputs["image"].copy()
    request, original = prepared(*sent)

    paint(request, way)
    result = rng.integers(0, 255, before.shape).astype(before.dtype)
    kept = held(original, result)

    assert (kept[~filled] == before[~filled]).all()
    assert (kept[filled] == result[filled]).all()


def test_a_model_that_returns_its_own_input_after_painting_it_changes_nothing_outside() -> None:
    request, original = prepared(payload_of_array("image", IMAGE), payload_of_array("mask", MASK))
    image = request.inputs["image"]
    by_address(image)

    kept = held(original, image)

    assert (kept[MASK == 0] == IMAGE[MASK == 0]).all()
    assert (kept[MASK > 0] == 7).all()


def test_what_the_host_keeps_costs_one_picture_and_a_bit_a_pixel_of_the_mask() -> None:
    request, original = prepared(payload_of_array("image", IMAGE), payload_of_array("mask", MASK))
    pixels: Any = original.pixels
    gc.collect()

    assert pixels._image.nbytes + pixels._filled.nbytes == IMAGE.nbytes + 4
    assert held(original, request.inputs["image"]).base is not None
    assert pixels.with_filled(IMAGE) is pixels._image, "it becomes the result"
