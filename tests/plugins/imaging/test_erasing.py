"""Filling masks over whole pictures, crops and smaller copies, by a network that only counts."""

from typing import Any

import numpy as np
import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paintmq.errors import InvalidInputError
from paintmq.model import Job
from paintmq.task import PayloadInfo
from paintmq_plugins.erase_options import EraseOptions, size_at_once
from paintmq_plugins.imaging.erasing import Eraser
from paintmq_plugins.imaging.padding import Padding

GREEN = (10, 200, 30)


@define
class Painter:
    """A network that paints everything green and remembers the sizes it was given."""

    sizes: list[tuple[int, ...]] = field(factory=list[tuple[int, ...]])

    def __call__(self, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        assert image.shape[:2] == mask.shape
        self.sizes.append(mask.shape)
        return np.full_like(image, GREEN)


def picture(
    height: int, width: int, channels: int = 3, dtype: str = "uint8", seed: int = 0
) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels)).astype(dtype)


def spots(height: int, width: int, *places: tuple[int, int]) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    for y, x in places:
        mask[y : y + 6, x : x + 4] = 255
    return mask


def never(done: int, total: int) -> None:
    """Be told of progress, and do nothing."""


@given(
    strategy=st.sampled_from(["crop", "resize", "original"]),
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    channels=st.sampled_from([3, 4]),
    dtype=st.sampled_from(["uint8", "uint16"]),
    feather=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_pixels_outside_the_mask_and_alpha_never_change(
    strategy: str, height: int, width: int, channels: int, dtype: str, feather: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = picture(height, width, channels, dtype, seed)
    mask = np.where(rng.random((height, width)) < 0.2, np.uint8(255), np.uint8(0))
    options = EraseOptions(
        strategy=strategy,  # type: ignore[arg-type]  # one of three
        crop_trigger=40,
        crop_margin=8,
        resize_limit=64,
        feather=feather,
    )

    result = Eraser(network=Painter(), padding=Padding(modulo=8)).erase(image, mask, options, never)

    assert result.dtype == image.dtype
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert np.array_equal(result[:, :, 3:], image[:, :, 3:])
    if feather == 0 and strategy == "original" and dtype == "uint8":
        assert (result[mask > 0][:, :3] == GREEN).all()


def test_crop_runs_once_a_region_with_its_margin() -> None:
    painter, steps = Painter(), list[tuple[int, int]]()
    image, mask = picture(200, 300), spots(200, 300, (100, 40), (20, 296))
    options = EraseOptions(crop_trigger=250, crop_margin=10)

    Eraser(network=painter, padding=Padding()).erase(
        image, mask, options, lambda done, total: steps.append((done, total))
    )

    # The one at the edge is moved inwards and sees as much as the other.
    assert painter.sizes == [(26, 24), (26, 24)]
    assert steps == [(0, 2), (1, 2)]


def test_a_crop_that_is_large_itself_is_shrunk_to_the_limit() -> None:
    painter = Painter()
    image, mask = picture(200, 300), spots(200, 300, (20, 20), (100, 40))
    mask[150:160, 10:290] = 255  # from side to side
    options = EraseOptions(crop_trigger=250, crop_margin=10, resize_limit=100)

    result = Eraser(network=painter, padding=Padding()).erase(image, mask, options, never)

    assert sorted(painter.sizes) == [(10, 100), (26, 24), (26, 24)]
    assert np.array_equal(result[mask == 0], image[mask == 0])


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({"strategy": "original"}, (4000, 3000), (4000, 3000)),
        ({"strategy": "resize"}, (4000, 3000), (1280, 960)),
        ({"strategy": "resize"}, (1000, 900), (1000, 900)),
        ({"strategy": "crop"}, (3000, 4000), (1280, 1280)),
        ({"strategy": "crop"}, (4000, 300), (1280, 300)),
        ({"strategy": "crop"}, (700, 600), (700, 600)),
        ({"strategy": "crop", "crop_trigger": 5000}, (4000, 3000), (4000, 3000)),
        ({"strategy": "crop"}, (0, 0), (0, 0)),
    ],
)
def test_the_size_of_the_largest_piece_is_known_beforehand(
    options: dict[str, Any], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    width, height = size
    info = PayloadInfo(name="image", size=1, digest="", kind="file", width=width, height=height)

    job = Job(device="cpu", options=EraseOptions(**options), inputs=(info,))

    assert size_at_once(job) == expected


@settings(max_examples=40)
@given(
    strategy=st.sampled_from(["crop", "resize", "original"]),
    height=st.integers(8, 300),
    width=st.integers(8, 300),
    margin=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_no_network_is_given_more_than_was_announced(
    strategy: str, height: int, width: int, margin: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(3):
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, 60)] = 255
    options = EraseOptions(
        strategy=strategy,  # type: ignore[arg-type]  # one of three
        crop_trigger=100,
        crop_margin=margin,
        resize_limit=128,
    )
    info = PayloadInfo(name="image", size=1, digest="", kind="file", width=width, height=height)
    longer, shorter = size_at_once(Job(device="cpu", options=options, inputs=(info,)))
    painter = Painter()

    Eraser(network=painter, padding=Padding()).erase(picture(height, width), mask, options, never)

    assert painter.sizes
    for sizes in painter.sizes:
        assert max(sizes) <= longer
        assert min(sizes) <= shorter


def test_small_pictures_are_run_whole_whatever_the_strategy() -> None:
    for strategy in ("crop", "resize", "original"):
        painter = Painter()
        options = EraseOptions(strategy=strategy)

        Eraser(network=painter, padding=Padding(modulo=8)).erase(
            picture(60, 61), spots(60, 61, (5, 5)), options, never
        )

        assert painter.sizes == [(64, 64)]


def test_resize_runs_a_copy_of_at_most_the_limit() -> None:
    painter = Painter()
    options = EraseOptions(strategy="resize", resize_limit=100)

    Eraser(network=painter, padding=Padding()).erase(
        picture(200, 300), spots(200, 300, (50, 50)), options, never
    )

    assert painter.sizes == [(67, 100)]


def test_regions_are_shrunk_to_the_networks_own_size() -> None:
    painter = Painter()
    padding = Padding(modulo=128, minimum=128, square=True)
    image, mask = picture(500, 700), spots(500, 700, (200, 300))
    mask[20:60, 20:60] = 255

    result = Eraser(network=painter, padding=padding).erase_regions(image, mask, 128, 0, never)

    assert painter.sizes == [(128, 128)] * 2
    # Near its edge a shrunk mask is grey, and the colours are mixed.
    assert (result[25:55, 25:55] == GREEN).all()
    assert np.array_equal(result[mask == 0], image[mask == 0])


def test_an_empty_mask_costs_nothing() -> None:
    painter = Painter()
    image = picture(20, 20)

    result = Eraser(network=painter, padding=Padding()).erase(
        image, spots(20, 20), EraseOptions(), never
    )

    assert np.array_equal(result, image)
    assert painter.sizes == []


def test_a_step_that_raises_stops_before_the_next_region() -> None:
    painter = Painter()

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Eraser(network=painter, padding=Padding()).erase(
            picture(200, 300),
            spots(200, 300, (10, 10), (100, 100), (150, 200)),
            EraseOptions(crop_trigger=250),
            stop,
        )

    assert len(painter.sizes) == 1


def test_16_bit_pictures_are_filled_over_their_whole_range() -> None:
    image, mask = picture(20, 20, dtype="uint16"), spots(20, 20, (5, 5))

    result = Eraser(network=Painter(), padding=Padding()).erase(image, mask, EraseOptions(), never)

    assert result[6, 6].tolist() == [257 * level for level in GREEN]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="10 x 10 pixels, but the image has 20 x 20"):
        Eraser(network=Painter(), padding=Padding()).erase(
            picture(20, 20), spots(10, 10, (2, 2)), EraseOptions(), never
        )
