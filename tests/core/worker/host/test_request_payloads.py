from typing import Any

import numpy as np
import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.worker_bench import key_of

from paintmq.config import Limits
from paintmq.digests import is_cryptographic
from paintmq.errors import InvalidInputError, InvalidOptionError, ModelError
from paintmq.image import encode_image, payload_of_array, payload_of_bytes
from paintmq.model import InputSpec, ModelSpec, Request
from paintmq.task import Buffer, PayloadInfo
from paintmq.worker.channel.messages import RunItem
from paintmq.worker.host.request_payloads import (
    keep_outside_mask,
    make_outputs,
    make_request,
    wants_cryptographic,
)

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 2:4] = 255


@frozen(kw_only=True)
class Options:
    radius: int = 3


SPEC = ModelSpec(
    name="alpha",
    implementation="nowhere:Model",
    options=Options,
    inputs=(
        InputSpec(name="image", summary="the picture to restore"),
        InputSpec(name="mask", kind="mask", required=False),
        InputSpec(name="extra", kind="data", required=False),
    ),
)


def make_item(
    *payloads: tuple[PayloadInfo, Buffer], task_type: str = "inpaint", **options: Any
) -> tuple[RunItem, list[Buffer]]:
    task_id, fence = key_of(1)
    infos = tuple(info for info, _ in payloads)
    item = RunItem(task_id=task_id, fence=fence, task_type=task_type, options=options, inputs=infos)
    return item, [data for _, data in payloads]


def request_of(*payloads: tuple[PayloadInfo, Buffer], **options: Any) -> Request:
    item, data = make_item(*payloads, **options)
    return make_request(SPEC, item, data, Limits())


def test_arrays_and_files_reach_the_model_as_pixels_and_options_as_values() -> None:
    request = request_of(
        payload_of_array("image", IMAGE),
        payload_of_bytes("mask", encode_image(np.repeat(MASK[:, :, None], 3, 2), "png")),
        payload_of_bytes("extra", b"bytes"),
        radius=7,
    )

    assert request.options == Options(radius=7)
    assert (request.inputs["image"] == IMAGE).all()
    assert (request.inputs["mask"] == MASK).all()
    assert request.inputs["extra"] == b"bytes"


def test_data_may_come_as_an_array() -> None:
    request = request_of(payload_of_array("image", IMAGE), payload_of_array("extra", MASK))

    assert (request.inputs["extra"] == MASK).all()


def test_a_missing_input_is_named_with_the_remedy() -> None:
    with pytest.raises(InvalidInputError) as caught:
        request_of(payload_of_array("mask", MASK))

    assert str(caught.value) == (
        "model alpha needs input 'image' (the picture to restore):"
        " give it in the task's inputs, as inputs={'image': ...}"
    )


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="mask: 5 x 4 pixels, but the image has 6 x 4"):
        request_of(payload_of_array("image", IMAGE), payload_of_array("mask", MASK[:, :5]))


def test_bytes_that_do_not_match_their_digest_are_refused() -> None:
    """I20: the way there."""
    info, _ = payload_of_array("image", IMAGE)

    with pytest.raises(InvalidInputError, match="do not match their checksum"):
        request_of((info, bytes(info.size)))


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="radios"):
        request_of(payload_of_array("image", IMAGE), radios=1)


# ---- outputs ---------------------------------------------------------------------------------


def outputs_of(outputs: Any, *, limits: Limits | None = None, task_type: str = "plugin") -> Any:
    item, data = make_item(
        payload_of_array("image", IMAGE), payload_of_array("mask", MASK), task_type=task_type
    )
    request = make_request(SPEC, item, data, Limits())
    return make_outputs(item, request, outputs, limits or Limits())


def test_arrays_and_bytes_become_payloads() -> None:
    image, note = outputs_of({"image": IMAGE[:, ::2], "note": b"text"})

    assert (image[0].kind, image[0].shape, note[0].kind) == ("array", (4, 3, 3), "file")
    assert bytes(note[1]) == b"text"


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (None, "returned NoneType"),
        ({}, "returned dict, not outputs"),
        ({"image": "text"}, "output 'image' is str"),
        ({"image": IMAGE.astype(np.float32)}, "output 'image' is float32"),
        ({"image": IMAGE[:0]}, "cannot be sent"),
    ],
)
def test_anything_else_is_the_models_fault(outputs: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        outputs_of(outputs)


def test_an_output_over_the_limit_is_refused_with_the_remedy() -> None:
    with pytest.raises(ModelError, match=r"72 bytes; 50 are allowed: use a smaller image"):
        outputs_of({"image": IMAGE}, limits=Limits(max_payload_bytes=50))


def test_the_colour_profile_goes_with_the_image() -> None:
    item, _ = make_item(payload_of_array("image", IMAGE))
    request = Request(task_id=item.task_id, options=None, inputs={}, icc_profile=b"profile")

    (_, _), (info, profile) = make_outputs(item, request, {"image": IMAGE}, Limits())

    assert (info.name, bytes(profile)) == ("icc_profile", b"profile")
    ((only, _),) = make_outputs(item, request, {"note": b"x"}, Limits())
    assert only.name == "note"


def test_only_inpainting_is_held_to_the_mask() -> None:
    filled = np.full_like(IMAGE, 9)

    ((_, free),) = outputs_of({"image": filled})
    ((_, held),) = outputs_of({"image": filled}, task_type="inpaint")

    assert set(bytes(free)) == {9}
    assert bytes(held) == np.where(MASK[:, :, None] > 0, 9, IMAGE).astype(np.uint8).tobytes()


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "no output 'image'"),
        (IMAGE[:3], "shape"),
        (IMAGE.astype(np.uint16), "uint16"),
        (np.zeros((4, 6, 1), np.uint8), "1 channels for 3"),
        (np.zeros((4, 6), np.uint8), "shape"),
    ],
)
def test_an_inpainting_result_that_cannot_be_held_to_the_mask_is_refused(
    result: Any, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        keep_outside_mask(IMAGE, MASK, result)


def test_transparency_that_the_model_dropped_is_kept() -> None:
    image = np.dstack([IMAGE, MASK])

    kept = keep_outside_mask(image, MASK, np.full_like(IMAGE, 9))

    assert (kept[:, :, 3] == image[:, :, 3]).all()
    assert (kept[MASK > 0, :3] == 9).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16]), st.sampled_from([3, 4]))
def test_pixels_outside_the_mask_never_change(seed: int, dtype: Any, channels: int) -> None:
    """I23: whatever the model paints."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 20, 2))
    image, result = rng.integers(0, 255, (2, height, width, channels)).astype(dtype)
    mask = np.where(rng.random((height, width)) < 0.5, 255, 0).astype(np.uint8)

    kept = keep_outside_mask(image, mask, result)

    assert (kept[mask == 0] == image[mask == 0]).all()
    assert (kept[mask != 0] == result[mask != 0]).all()


# ---- the seed ----------------------------------------------------------------------------------


@frozen(kw_only=True)
class Seeded:
    seed: int = -1
    radius: int = 3


def seed_of(image: np.ndarray = IMAGE, options: type = Options, **asked: Any) -> int:
    item, data = make_item(payload_of_array("image", image), **asked)
    spec = evolve(SPEC, options=options)
    other = evolve(item, task_id=key_of(2)[0], fence=key_of(2)[1])  # a repetition
    seeds = {make_request(spec, each, data, Limits()).seed for each in (item, other)}
    (seed,) = seeds
    return seed


def test_a_seed_that_was_asked_for_is_what_the_model_gets() -> None:
    assert seed_of(options=Seeded, seed=7) == 7
    assert seed_of(options=Seeded, seed=0) == 0


def test_without_one_the_seed_depends_on_options_and_inputs_alone() -> None:
    drawn = [
        seed_of(),
        seed_of(radius=4),
        seed_of(image=IMAGE + 1),
        seed_of(options=Seeded),
    ]

    assert len(set(drawn)) == 4
    assert all(0 <= seed < 2**32 for seed in drawn)
    assert seed_of(radius=3) == seed_of()  # the default, said aloud
    assert seed_of(options=Seeded, seed=-1) == seed_of(options=Seeded)


def test_the_seed_is_the_same_whichever_digest_came_with_the_bytes() -> None:
    old = payload_of_array("image", IMAGE, cryptographic=True)

    assert request_of(old).seed == seed_of()


# ---- older clients -----------------------------------------------------------------------------


@pytest.mark.parametrize("cryptographic", [False, True])
def test_outputs_have_digests_of_the_kind_that_came_with_the_inputs(cryptographic: bool) -> None:
    """I18: a client of protocol version 1 would take any other for damage."""
    item, data = make_item(
        payload_of_array("image", IMAGE, cryptographic=cryptographic), task_type="upscale"
    )
    request = make_request(SPEC, item, data, Limits())

    outputs = make_outputs(item, request, {"image": IMAGE, "note": b"words"}, Limits())

    assert [is_cryptographic(info.digest) for info, _ in outputs] == [cryptographic] * 2


def test_without_inputs_the_client_may_be_an_older_one() -> None:
    """I18."""
    assert wants_cryptographic(make_item()[0])
