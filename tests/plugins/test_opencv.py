"""The opencv model: what it fills, what it leaves alone, and what it asks for."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paintmq.errors import InvalidInputError
from paintmq.image import decode_image, mask_from_array, payload_of_array, to_8_bits
from paintmq.model import Job
from paintmq.plugin.options import parse_options
from paintmq_plugins.opencv import SPEC, OpenCvOptions
from paintmq_plugins.opencv_model import ALGORITHMS, inpaint

DATA = Path(__file__).parents[1] / "data"


def photograph(name: str) -> NDArray[np.uint8]:
    return decode_image((DATA / name).read_bytes()).pixels.astype(np.uint8)


CAT = photograph("chelsea.png")
SCRATCHED = photograph("chelsea-scratched.png")
SCRATCH = mask_from_array(photograph("chelsea-scratch-mask.png"))


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    error = np.mean((a[where].astype(float) - b[where].astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize("algorithm", ["ns", "telea"])
def test_the_scratched_cat_is_restored(algorithm: str) -> None:
    options = parse_options(OpenCvOptions, {"algorithm": algorithm})

    restored = inpaint(SCRATCHED, SCRATCH, options)

    assert psnr(SCRATCHED, CAT, SCRATCH > 0) < 12
    assert psnr(restored, CAT, SCRATCH > 0) >= 24


@given(
    seed=st.integers(0, 2**32 - 1),
    algorithm=st.sampled_from(["ns", "telea"]),
    radius=st.sampled_from([1.0, 2.5, 4.0, 9.0]),
)
def test_filling_a_part_equals_filling_the_whole_picture(
    seed: int, algorithm: str, radius: float
) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros(CAT.shape[:2], np.uint8)
    for _ in range(rng.integers(1, 4)):
        ends = rng.integers(0, (450, 300), (2, 2))
        cv2.line(mask, ends[0].tolist(), ends[1].tolist(), 255, int(rng.integers(1, 12)))

    ours = inpaint(CAT, mask, OpenCvOptions(algorithm=algorithm, radius=radius))  # type: ignore[arg-type]  # one of two

    assert np.array_equal(ours, cv2.inpaint(CAT, mask, radius, ALGORITHMS[algorithm]))


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pixels_outside_the_mask_and_alpha_never_change(channels: int, dtype: str) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, np.iinfo(dtype).max, (40, 50, channels)).astype(dtype)
    mask = np.where(rng.random((40, 50)) < 0.3, np.uint8(255), np.uint8(0))
    before = image.copy()
    image.flags.writeable = False

    filled = inpaint(image, mask, OpenCvOptions())

    assert filled.dtype == image.dtype
    assert np.array_equal(filled[mask == 0], before[mask == 0])
    assert not np.array_equal(filled[mask > 0][:, :3], before[mask > 0][:, :3])
    if channels == 4:
        assert np.array_equal(filled[:, :, 3], before[:, :, 3])


def test_16_bit_pictures_are_filled_with_16_bit_colours() -> None:
    deep = CAT.astype(np.uint16) * 257

    filled = inpaint(deep, SCRATCH, OpenCvOptions())

    assert psnr(to_8_bits(filled), CAT, SCRATCH > 0) >= 24
    assert (filled[SCRATCH > 0] % 257 != 0).any()


def test_an_empty_mask_changes_nothing() -> None:
    assert np.array_equal(inpaint(CAT, np.zeros_like(SCRATCH), OpenCvOptions()), CAT)


def test_a_mask_over_everything_still_gives_a_picture() -> None:
    assert inpaint(CAT, np.full_like(SCRATCH, 255), OpenCvOptions()).shape == CAT.shape


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="but the image has 451 x 300"):
        inpaint(CAT, SCRATCH[:-1], OpenCvOptions())


def test_needs_and_time_grow_with_the_picture() -> None:
    def job(side: int) -> Job:
        info, _ = payload_of_array("image", np.zeros((side, side, 3), np.uint8))
        return Job(device="cpu", options=OpenCvOptions(), inputs=(info,))

    assert SPEC.needs(job(64)).memory_mb < SPEC.needs(job(4096)).memory_mb < 1024
    assert SPEC.run_seconds(job(64)) < 0.01 < SPEC.run_seconds(job(4096)) < 10
