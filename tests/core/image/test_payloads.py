"""Payloads, pixels and masks."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paintmq.config import Limits
from paintmq.digests import digest_of
from paintmq.errors import InvalidInputError
from paintmq.image import (
    ARRAY_DTYPES,
    array_from_payload,
    check_mask_fits,
    encode_image,
    image_from_array,
    image_from_payload,
    mask_from_array,
    mask_from_payload,
    payload_of_array,
    payload_of_bytes,
)
from paintmq.task import PayloadInfo

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


@given(
    dtype=st.sampled_from(ARRAY_DTYPES),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    reverse=st.booleans(),
)
def test_what_goes_into_a_payload_comes_out(dtype: str, shape: list[int], reverse: bool) -> None:
    array = (np.arange(np.prod(shape)) % 3).astype(dtype).reshape(shape)
    array = array[::-1] if reverse else array

    info, data = payload_of_array("x", array)
    back = array_from_payload(info, data)

    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_an_array_is_not_copied_on_its_way_through_a_payload() -> None:
    info, data = payload_of_array("image", PIXELS)

    back = array_from_payload(info, data)

    assert np.shares_memory(back, PIXELS)
    assert not back.flags.writeable


def test_a_payload_is_described_by_size_digest_and_sides() -> None:
    info, data = payload_of_array("image", PIXELS)

    assert (info.width, info.height, info.shape, info.dtype) == (5, 4, (4, 5, 3), "uint8")
    assert info.size == 60
    assert info.digest == digest_of(data)


def test_a_digest_that_cannot_be_forged_is_sha256_as_in_version_1() -> None:
    array, file = (
        payload_of_array("image", PIXELS, cryptographic=True),
        payload_of_bytes("text", b"words", cryptographic=True),
    )

    for info, data in (array, file):
        assert info.digest == hashlib.sha256(data).hexdigest()
    assert np.array_equal(array_from_payload(*array), PIXELS)


def test_a_digest_of_an_unknown_kind_is_not_taken_for_damage() -> None:
    info, data = payload_of_array("image", PIXELS)

    with pytest.raises(
        InvalidInputError, match=r"checksum 'blake9:1234' is of a kind .* update it"
    ):
        array_from_payload(evolve(info, digest="blake9:1234"), data)


def test_big_endian_arrays_are_sent_little_endian() -> None:
    info, data = payload_of_array("x", np.array([1, 2], ">u2"))

    assert bytes(data) == b"\1\0\2\0"
    assert info.dtype == "uint16"


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.array(["a"]), np.array([object()]), np.zeros(3, np.complex64)]
)
def test_arrays_of_other_kinds_are_not_sent(array: NDArray[np.float64]) -> None:
    with pytest.raises(InvalidInputError, match="cannot be sent"):
        payload_of_array("x", array)


@pytest.mark.parametrize("array", [np.zeros((0, 3), np.uint8), np.uint8(3)])
def test_an_array_that_holds_nothing_is_not_sent(array: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidInputError, match="holds nothing"):
        payload_of_array("x", np.asarray(array))


def test_of_a_file_only_the_header_is_read() -> None:
    png = encode_image(PIXELS)[:60]

    info, data = payload_of_bytes("image", png)

    assert (info.kind, info.width, info.height, info.size) == ("file", 5, 4, 60)
    assert data is png
    assert payload_of_bytes("points", b"[1, 2]")[0].width == 0


def test_bytes_that_changed_on_the_way_are_refused() -> None:
    info, data = payload_of_array("image", PIXELS)
    changed = bytearray(data)
    changed[7] ^= 1

    with pytest.raises(InvalidInputError, match=r"checksum"):
        array_from_payload(info, changed)
    file_info, file_data = payload_of_bytes("image", encode_image(PIXELS))
    with pytest.raises(InvalidInputError, match="arrived"):
        image_from_payload(file_info, file_data[:-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda info: evolve(info, shape=(4, 5, 4)),
        lambda info: evolve(info, shape=(-4, -5, 3)),
        lambda info: evolve(info, shape=()),
        lambda info: evolve(info, dtype="uint16"),
        lambda info: evolve(info, dtype="O"),
        lambda info: evolve(info, kind="file"),
    ],
    ids=["more", "negative", "none", "depth", "object", "file"],
)
def test_a_description_that_does_not_fit_the_bytes_is_refused(
    change: Callable[[PayloadInfo], PayloadInfo],
) -> None:
    info, data = payload_of_array("image", PIXELS)

    with pytest.raises(InvalidInputError):
        array_from_payload(change(info), data)


def test_an_image_is_the_same_as_an_array_or_as_a_file() -> None:
    as_array = image_from_payload(*payload_of_array("image", PIXELS))
    as_file = image_from_payload(*payload_of_bytes("image", encode_image(PIXELS)))

    assert np.array_equal(as_array.pixels, as_file.pixels)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_pixels=19), r"5 x 4 is 20 pixels; 19 are allowed \(limits\.max_pixels"),
        (Limits(max_side=4), r"a side may have 4 at most \(limits\.max_side"),
        (Limits(max_payload_bytes=59), r"59 are allowed \(limits\.max_payload_bytes\)"),
    ],
)
def test_arrays_are_held_to_the_limits_of_files(limits: Limits, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        image_from_payload(*payload_of_array("image", PIXELS), limits)


def test_grey_arrays_become_rgb_and_colour_arrays_stay_themselves() -> None:
    assert image_from_array(PIXELS) is PIXELS
    assert image_from_array(PIXELS[:, :, 0]).shape == (4, 5, 3)
    assert image_from_array(PIXELS[:, :, :1]).shape == (4, 5, 3)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)]
)
def test_what_is_no_image_is_refused(array: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidInputError, match="an image"):
        image_from_array(array)


@pytest.mark.parametrize(
    ("array", "filled"),
    [
        (np.array([[0, 127, 128, 255]], np.uint8), [0, 0, 255, 255]),
        (np.array([[0, 127 * 257, 127 * 257 + 1, 65535]], np.uint16), [0, 0, 255, 255]),
        (np.array([[0.0, 0.5, 0.51, 1.0]], np.float32), [0, 0, 255, 255]),
        (np.array([[False, False, True, True]]), [0, 0, 255, 255]),
        (np.array([[[0], [127], [128], [255]]], np.uint8), [0, 0, 255, 255]),
        (np.array([[[0] * 3, [127] * 3, [128] * 3, [255] * 3]], np.uint8), [0, 0, 255, 255]),
    ],
)
def test_a_mask_is_filled_above_127_in_every_mode(
    array: NDArray[np.uint8], filled: list[int]
) -> None:
    mask = mask_from_array(array)

    assert mask.dtype == np.uint8
    assert mask.tolist() == [filled]


def test_what_a_mask_shows_transparent_is_kept() -> None:
    array = np.array([[[255, 255, 255, 0], [255, 255, 255, 255], [0, 0, 0, 255]]], np.uint8)

    assert mask_from_array(array).tolist() == [[0, 255, 0]]


def test_a_mask_of_0_and_1_is_refused_rather_than_filling_nothing() -> None:
    with pytest.raises(InvalidInputError, match="use 0 and 255"):
        mask_from_array(np.eye(3, dtype=np.uint8))


def test_an_empty_mask_is_a_mask() -> None:
    assert mask_from_array(np.zeros((2, 2), np.uint8)).max() == 0


def test_a_mask_comes_from_a_file_as_from_an_array() -> None:
    array = np.array([[0, 255], [255, 0]], np.uint8)

    from_file = mask_from_payload(*payload_of_bytes("mask", encode_image(array)))
    from_array = mask_from_payload(*payload_of_array("mask", array))

    assert np.array_equal(from_file, array)
    assert np.array_equal(from_array, array)


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.int32), np.zeros((2, 2, 2), np.uint8)])
def test_what_is_no_mask_is_refused(array: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidInputError, match="a mask"):
        mask_from_array(array)


def test_a_mask_of_another_size_than_its_image_is_refused_with_both_sizes() -> None:
    with pytest.raises(InvalidInputError, match="2 x 3 pixels, but the image has 5 x 4"):
        check_mask_fits(PIXELS, np.zeros((3, 2), np.uint8))


def strokes(colour: tuple[int, ...], alpha: int) -> "NDArray[np.uint8]":
    """Return a picture of one stroke on transparent ground."""
    array = np.zeros((4, 6, 4), np.uint8)
    array[1:3, 2:4] = (*colour, alpha)
    return array


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (40, 0, 0)])
def test_strokes_on_transparent_ground_are_filled_whatever_their_colour(
    colour: tuple[int, ...],
) -> None:
    mask = mask_from_array(strokes(colour, 255), must_fill=True)

    assert np.argwhere(mask).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]


@pytest.mark.parametrize(
    ("array", "brightest"),
    [
        (np.zeros((4, 6), np.uint8), "the brightest is 0 of 255"),
        (np.full((4, 6), 100, np.uint8), "the brightest is 100 of 255"),
        (np.full((4, 6, 3), 85, np.uint8), "the brightest is 85 of 255"),
        (np.full((4, 6), 9_000, np.uint16), "the brightest is 9000 of 65535"),
        (np.zeros((4, 6), bool), "the brightest is 0 of 1"),
        (strokes((255, 255, 255), 120), "the brightest is 120 of 255"),
    ],
)
def test_a_mask_that_must_fill_something_is_refused_with_its_brightest(
    array: "NDArray[np.generic]", brightest: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"nothing in it is white .{brightest}"):
        mask_from_array(array, must_fill=True)
    assert not mask_from_array(array).any()
