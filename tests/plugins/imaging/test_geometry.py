"""Padding, boxes, tiles and feathering."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paintmq_plugins.imaging.padding import Padding, pad
from paintmq_plugins.imaging.pasting import feathered
from paintmq_plugins.imaging.regions import Box, boxes_of, with_margin
from paintmq_plugins.imaging.tiling import tiles_of

SIDE = st.integers(1, 200)


@pytest.mark.parametrize(
    ("padding", "size"),
    [
        (Padding(), (5, 9)),
        (Padding(modulo=8), (8, 16)),
        (Padding(modulo=8, minimum=32), (32, 32)),
        (Padding(modulo=4, square=True), (12, 12)),
    ],
)
def test_padding_gives_the_smallest_size_that_fits(padding: Padding, size: tuple[int, int]) -> None:
    assert padding.size_for(5, 9) == size


def test_padding_mirrors_to_the_right_and_below() -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)

    padded = pad(array, Padding(modulo=4))

    assert padded.tolist() == [[1, 2, 3, 3], [4, 5, 6, 6], [4, 5, 6, 6], [1, 2, 3, 3]]


@given(height=SIDE, width=SIDE, margin=st.integers(0, 100), data=st.data())
def test_a_box_with_margin_holds_the_box_and_stays_inside(
    height: int, width: int, margin: int, data: st.DataObject
) -> None:
    left = data.draw(st.integers(0, width - 1))
    right = data.draw(st.integers(left + 1, width))
    top = data.draw(st.integers(0, height - 1))
    bottom = data.draw(st.integers(top + 1, height))

    grown = with_margin(Box(left, top, right, bottom), margin, height, width)

    # An odd box loses at most the pixel that its centre is rounded by.
    slack = 1 if margin == 0 else 0
    assert 0 <= grown.left <= left + slack
    assert right - slack <= grown.right <= width
    assert 0 <= grown.top <= top + slack
    assert bottom - slack <= grown.bottom <= height


def test_boxes_are_found_region_by_region() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[2:5, 3:9] = 255
    mask[10:20, 25:30] = 255

    assert sorted(boxes_of(mask), key=lambda box: box.left) == [
        Box(3, 2, 9, 5),
        Box(25, 10, 30, 20),
    ]


@given(height=SIDE, width=SIDE, side=st.integers(0, 64), overlap=st.integers(0, 16))
def test_tiles_cover_every_pixel_once_and_see_their_overlap(
    height: int, width: int, side: int, overlap: int
) -> None:
    covered = np.zeros((height, width), int)

    for tile in tiles_of(height, width, side, overlap):
        rows, columns = tile.rows, tile.columns
        covered[rows.kept_from : rows.kept_to, columns.kept_from : columns.kept_to] += 1
        assert rows.seen_from == max(0, rows.kept_from - overlap)
        assert columns.seen_to == min(width, columns.kept_to + overlap)

    assert (covered == 1).all()


def test_feathering_fades_in_from_the_edge_and_never_outside() -> None:
    mask = np.zeros((1, 20), np.uint8)
    mask[:, 5:] = 255

    weights = feathered(mask, 4)[0]

    assert weights[:5].tolist() == [0] * 5
    assert weights[5:10].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert (weights[10:] == 1).all()


def test_feathering_a_mask_without_edge_keeps_all_of_it() -> None:
    assert feathered(np.full((3, 3), 255, np.uint8), 4).min() == 1
