import hashlib
import json
from typing import Any

import numpy as np
import pytest
from attrs import evolve, frozen
from tests.harness.worker_bench import key_of

from paintmq.config import Limits
from paintmq.digests import is_cryptographic
from paintmq.errors import InvalidInputError, InvalidOptionError
from paintmq.image import encode_image, payload_of_array, payload_of_bytes
from paintmq.model import InputSpec, ModelSpec, Request
from paintmq.task import Buffer, PayloadInfo
from paintmq.worker.channel.messages import RunItem
from paintmq.worker.host.model_outputs import make_outputs
from paintmq.worker.host.original_pixels import Original, wants_cryptographic
from paintmq.worker.host.request_payloads import make_request

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 2:4] = 255


@frozen
class Plain:
    """No options."""


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


def test_a_mask_that_lies_on_its_side_is_told_of_orientations() -> None:
    with pytest.raises(InvalidInputError, match=r"mask: 4 x 6 .* 6 x 4; is it turned by its EXIF"):
        request_of(payload_of_array("image", IMAGE), payload_of_array("mask", MASK.T.copy()))


FILLS = [("inpaint", "inpaint"), ("plugin", "inpaint"), ("plugin", "plugin"), ("tint", "tint")]
"""Types of a task, and of its model."""


@pytest.mark.parametrize(("task_type", "own_type"), FILLS)
def test_a_mask_that_fills_nothing_is_refused_where_filling_is_the_task(
    task_type: str, own_type: str
) -> None:
    spec = evolve(SPEC, task_types=(own_type,))
    empty = payload_of_array("mask", np.zeros_like(MASK))
    item, data = make_item(payload_of_array("image", IMAGE), empty, task_type=task_type)

    if own_type == "inpaint":
        with pytest.raises(InvalidInputError, match="mask: nothing in it is white"):
            make_request(spec, item, data, Limits())
    else:
        assert not make_request(spec, item, data, Limits()).inputs["mask"].any()


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize(("task_type", "own_type"), FILLS)
def test_a_mask_that_leaves_nothing_is_refused_where_a_model_fills_from_what_is_left(
    task_type: str, own_type: str, needed: bool
) -> None:
    mask = InputSpec(name="mask", kind="mask", needs_surroundings=needed)
    spec = evolve(SPEC, inputs=(InputSpec(name="image"), mask), task_types=(own_type,))
    whole = payload_of_array("mask", np.full_like(MASK, 255))
    item, data = make_item(payload_of_array("image", IMAGE), whole, task_type=task_type)

    if needed and own_type == "inpaint":
        with pytest.raises(InvalidInputError, match="mask: all of it is white, so nothing is left"):
            make_request(spec, item, data, Limits())
    else:
        assert make_request(spec, item, data, Limits()).inputs["mask"].all()


def test_bytes_that_do_not_match_their_digest_are_refused() -> None:
    """I20: the way there."""
    info, _ = payload_of_array("image", IMAGE)

    with pytest.raises(InvalidInputError, match="do not match their checksum"):
        request_of((info, bytes(info.size)))


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="radios"):
        request_of(payload_of_array("image", IMAGE), radios=1)


def test_what_a_model_gets_cannot_be_written_to() -> None:
    grey, large = IMAGE[:, :, 0], IMAGE.astype(np.uint16) * 257
    for image in (
        payload_of_array("image", IMAGE),
        payload_of_array("image", grey),
        payload_of_bytes("image", encode_image(IMAGE, "png")),
        payload_of_bytes("image", encode_image(large, "png")),
        payload_of_bytes("image", encode_image(large, "tiff")),
    ):
        for mask in (MASK, MASK > 0, MASK / np.float32(255)):
            request = request_of(image, payload_of_array("mask", mask))

            for array in request.inputs.values():
                with pytest.raises(ValueError, match="read-only"):
                    array[0, 0] = 1


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


def test_the_seed_of_a_task_stays_what_it_was_in_earlier_versions() -> None:
    """A task that is tried again after an update comes out the same."""
    task_id, fence = key_of(1)
    task: dict[str, Any] = {"task_id": task_id, "fence": fence, "task_type": "plugin"}
    info = PayloadInfo(name='a "ü"', size=3, digest="xxh3:00ff", kind="file")
    plain = evolve(SPEC, options=Plain, inputs=(InputSpec(name="x", required=False),))
    for spec, named in ((plain, {}), (evolve(plain, options=Options), {"radius": 3})):
        request = make_request(
            spec, RunItem(**task, options={}, inputs=(info,)), [b"abc"], Limits()
        )
        text = json.dumps([named, [[info.name, info.digest]]], sort_keys=True)
        digest = hashlib.sha256(text.encode()).digest()

        assert request.seed == int.from_bytes(digest[:4], "big")


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

    outputs = make_outputs(Original.of(item, request), {"image": IMAGE, "note": b"words"}, Limits())

    assert [is_cryptographic(info.digest) for info, _ in outputs] == [cryptographic] * 2


def test_without_inputs_the_client_may_be_an_older_one() -> None:
    """I18."""
    assert wants_cryptographic(make_item()[0])
