"""What a diffusion model paints on, and how it gets back into the picture."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from paintmq.errors import InvalidInputError
from paintmq_plugins.diffusion.options import DiffusionOptions
from paintmq_plugins.imaging.canvas import Canvas, blurred, surroundings


def picture(
    height: int, width: int, channels: int = 3, dtype: type = np.uint8
) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    pixels: NDArray[np.uint8] = rng.integers(
        0, top, (height, width, channels), endpoint=True
    ).astype(dtype)
    return pixels


def hole(height: int, width: int) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height // 2, width // 3 : width // 2] = 255
    return mask


@st.composite
def masks(draw: st.DrawFn, height: int, width: int) -> NDArray[np.uint8]:
    """Nothing, everything, and rectangles from a single pixel up to the edges."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
        mask[top : top + tall, left : left + wide] = 255
    return mask


@pytest.mark.slow
@settings(max_examples=40)
@given(
    data=st.data(),
    size=st.tuples(st.integers(1, 640), st.integers(1, 640)),
    crop=st.booleans(),
    margin=st.sampled_from([0, 3, 128]),
    scale=st.sampled_from([1.0, 0.5, 0.31]),
    blur=st.sampled_from([0, 4, 128]),
    right=st.sampled_from([0, 0, 24]),
    kind=st.sampled_from([(3, np.uint8), (4, np.uint8), (3, np.uint16), (4, np.uint16)]),
)
def test_whatever_the_model_paints_nothing_changes_outside_the_mask(
    data: st.DataObject,
    size: tuple[int, int],
    crop: bool,
    margin: int,
    scale: float,
    blur: int,
    right: int,
    kind: tuple[int, type],
) -> None:
    """I23."""
    image, mask = picture(*size, *kind), data.draw(masks(*size))
    options = DiffusionOptions(
        crop=crop, crop_margin=margin, scale=scale, mask_blur=blur, extend_right=right
    )
    canvas = Canvas.prepare(image, mask, options)

    assert canvas.picture.shape[0] % 8 == canvas.picture.shape[1] % 8 == 0
    assert min(canvas.picture.shape[:2]) >= 512
    assert canvas.mask.shape == canvas.picture.shape[:2]
    assert bool(canvas.mask.any()) == bool(mask.any() or right)
    result = canvas.finish(np.full_like(canvas.picture, 128))

    assert result.dtype == image.dtype
    assert result.shape == (size[0], size[1] + right, kind[0])
    result = result[:, : size[1]]
    assert np.array_equal(result[mask == 0], image[mask == 0])
    if kind[0] == 4:
        assert np.array_equal(result[..., 3], image[..., 3])


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("place", [np.s_[40:600, 40:600], np.s_[0:9, 630:], np.s_[300:310, 8:]])
def test_what_is_painted_fades_in_by_the_blurred_mask(
    place: tuple[slice, slice], crop: bool
) -> None:
    """Whatever part of the picture is looked at: also where that ends with the mask."""
    image, mask = picture(640, 640), np.zeros((640, 640), np.uint8)
    mask[place] = 255
    options = DiffusionOptions(crop=crop, crop_margin=0, mask_blur=20)
    canvas = Canvas.prepare(image, mask, options)

    result = canvas.finish(255 - canvas.picture)

    weight = blurred(mask, 20)[:, :, None]
    mixed = ((255 - image) * weight + image * (1 - weight)).astype(np.uint8)
    assert np.array_equal(result, np.where(mask[:, :, None] > 0, mixed, image))


def test_the_whole_picture_may_be_painted() -> None:
    image, mask = picture(40, 50), np.full((40, 50), 255, np.uint8)
    canvas = Canvas.prepare(image, mask, DiffusionOptions())

    assert (canvas.finish(np.full_like(canvas.picture, 7)) == 7).all()


def test_a_hair_in_the_mask_is_still_there_on_a_much_smaller_copy() -> None:
    mask = np.zeros((1000, 1000), np.uint8)
    mask[501] = 255

    canvas = Canvas.prepare(picture(1000, 1000), mask, DiffusionOptions(scale=0.1))

    assert canvas.mask[50, :100].all()


def test_what_is_painted_comes_back_to_its_place() -> None:
    image, mask = picture(520, 640), hole(520, 640)
    canvas = Canvas.prepare(image, mask, DiffusionOptions(mask_blur=0, crop=True, crop_margin=8))

    result = canvas.finish(255 - canvas.picture)

    assert np.array_equal(result[mask > 0], 255 - image[mask > 0])


def test_a_crop_is_as_large_as_the_model_was_trained_on() -> None:
    mask = np.zeros((2000, 3000), np.uint8)
    mask[100:110, 2900:2910] = 255

    box = surroundings(mask, 64)

    assert (box.right - box.left, box.bottom - box.top) == (512, 512)
    assert box.right <= 3000


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_picture_is_extended_where_asked_and_the_rest_stays(side: str) -> None:
    image, mask = picture(40, 50), np.zeros((40, 50), np.uint8)
    options = DiffusionOptions(mask_blur=0, **{f"extend_{side}": 16})  # type: ignore[arg-type]  # mypy takes any key
    canvas = Canvas.prepare(image, mask, options)

    result = canvas.finish(np.full_like(canvas.picture, 7))

    expected = {
        "left": np.pad(image, ((0, 0), (16, 0), (0, 0)), constant_values=7),
        "right": np.pad(image, ((0, 0), (0, 16), (0, 0)), constant_values=7),
        "top": np.pad(image, ((16, 0), (0, 0), (0, 0)), constant_values=7),
        "bottom": np.pad(image, ((0, 16), (0, 0), (0, 0)), constant_values=7),
    }
    assert np.array_equal(result, expected[side])


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="mask"):
        Canvas.prepare(picture(40, 50), hole(50, 40), DiffusionOptions())


def test_a_crop_that_is_still_too_large_is_refused() -> None:
    """Only a worker sees how large the mask is."""
    mask = np.full((4097, 4097), 255, np.uint8)

    with pytest.raises(InvalidInputError, match="megapixels"):
        Canvas.prepare(np.zeros((4097, 4097, 3), np.uint8), mask, DiffusionOptions(crop=True))
