"""What a diffusion model paints on, and how it gets back into the picture."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from paintmq.errors import InvalidInputError
from paintmq_plugins.diffusion_options import DiffusionOptions
from paintmq_plugins.imaging.canvas import Canvas, surroundings


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


@settings(max_examples=25)
@given(
    height=st.integers(8, 700),
    width=st.integers(8, 700),
    crop=st.booleans(),
    scale=st.sampled_from([1.0, 0.5, 0.31]),
    blur=st.sampled_from([0, 4]),
    kind=st.sampled_from([(3, np.uint8), (4, np.uint8), (3, np.uint16)]),
)
def test_whatever_the_model_paints_nothing_changes_outside_the_mask(
    height: int, width: int, crop: bool, scale: float, blur: int, kind: tuple[int, type]
) -> None:
    """I23."""
    image, mask = picture(height, width, *kind), hole(height, width)
    options = DiffusionOptions(crop=crop, crop_margin=16, scale=scale, mask_blur=blur)
    canvas = Canvas.prepare(image, mask, options)

    assert canvas.picture.shape[0] % 8 == canvas.picture.shape[1] % 8 == 0
    assert min(canvas.picture.shape[:2]) >= 512
    assert canvas.mask.shape == canvas.picture.shape[:2]
    result = canvas.finish(np.full_like(canvas.picture, 128))

    assert result.dtype == image.dtype
    assert np.array_equal(result[mask == 0], image[mask == 0])
    if kind[0] == 4:
        assert np.array_equal(result[..., 3], image[..., 3])


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


def test_a_picture_is_extended_where_asked_and_the_rest_stays() -> None:
    image, mask = picture(40, 50), np.zeros((40, 50), np.uint8)
    options = DiffusionOptions(extend_left=8, extend_bottom=16, mask_blur=0)
    canvas = Canvas.prepare(image, mask, options)

    result = canvas.finish(np.full_like(canvas.picture, 7))

    assert result.shape == (56, 58, 3)
    assert np.array_equal(result[:40, 8:], image)
    assert (result[40:] == 7).all()
    assert (result[:, :8] == 7).all()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="mask"):
        Canvas.prepare(picture(40, 50), hole(50, 40), DiffusionOptions())
