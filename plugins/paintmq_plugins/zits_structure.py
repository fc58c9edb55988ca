"""What ZITS wants to know of a picture beside its pixels: edges, lines, and how deep a hole is.

The steps, sizes and constants are those of IOPaint 1.6.0 (Apache-2.0), after ZITS.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.draw import line_aa
from skimage.feature import canny

GRID = 256
"""Side of the square on which structure is found."""

_POSITIONS = 128
_LINE_SCORE = 0.85
# Each filter looks one step in two directions; together they tell which way the hole's edge lies.
_DIRECTIONS = tuple(
    np.array(rows, np.float32)
    for rows in (
        [[1, 1, 0], [1, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [1, 1, 0], [1, 1, 0]],
        [[0, 1, 1], [0, 1, 1], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 1], [0, 1, 1]],
    )
)


@frozen
class HolePositions:
    """How far each pixel of a hole is from its edge, and which way the edge lies."""

    distance: NDArray[np.int32]
    """Shape (H, W): steps from the edge on the grid, 0 outside, at most 127."""
    direction: NDArray[np.int32]
    """Shape (H, W, 4): 1 where the edge lies up left, down left, up right, down right."""


def resized(array: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the picture as a square; averaged when it shrinks both ways."""
    height, width = array.shape[:2]
    shrinks = height > side and width > side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(array, (side, side), interpolation=how).astype(np.uint8)


def resized_hole(hole: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a hole (0 or 255) as a square in which every touched pixel is hole."""
    small = cv2.resize(hole, (side, side), interpolation=cv2.INTER_AREA)
    return np.where(small > 0, np.uint8(255), np.uint8(0))


def edges(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return Canny edges of a picture, 0 or 1."""
    found: NDArray[np.bool_] = canny(rgb2gray(picture), sigma=3.0)
    return found.astype(np.float32)


def drawn_lines(lines: NDArray[np.float32], scores: Sequence[float]) -> NDArray[np.float32]:
    """Draw the likely lines, given as (x, y, x, y) from 0 to 1, on the grid; values 0 to 1."""
    canvas = np.zeros((GRID, GRID))
    for line, score in zip(lines, scores, strict=True):
        if score <= _LINE_SCORE:
            continue
        left, top, right, bottom = (int(place * GRID) for place in line)
        rows, columns, values = line_aa(top, left, bottom, right)
        inside = (rows >= 0) & (rows < GRID) & (columns >= 0) & (columns < GRID)
        rows, columns, values = rows[inside], columns[inside], values[inside]
        canvas[rows, columns] = np.maximum(canvas[rows, columns], values)
    levels = np.clip(canvas * 255, 0, 255).astype(np.uint8)
    return np.divide(levels, 255, dtype=np.float32)


def hole_positions(hole: NDArray[np.uint8]) -> HolePositions:
    """Measure a hole (0 or 255) by peeling it, one grid pixel at a time."""
    height, width = hole.shape
    known = np.where(resized_hole(hole, GRID) > 0, np.float32(0), np.float32(1))
    steps = np.zeros((GRID, GRID), np.int32)
    direction = np.zeros((GRID, GRID, 4), np.int32)
    step = 0
    # A hole over the whole picture has no edge to be measured from.
    while known.any() and not known.all():
        step += 1
        grown = _spread(known, np.ones((3, 3), np.float32))
        steps[grown > known] = step
        for index, side in enumerate(_DIRECTIONS):
            direction[_spread(known, side) > known, index] = 1
        known = grown
    distance = (steps / (GRID / 2) * _POSITIONS).astype(np.int32)
    distance = np.clip(distance, 0, _POSITIONS - 1)
    if (height, width) != (GRID, GRID):
        size = (width, height)
        distance = cv2.resize(distance, size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
        direction = cv2.resize(direction, size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
        distance[hole == 0] = 0
        direction[hole == 0] = 0
    return HolePositions(distance, direction)


def normalised_for_lines(picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """Return what the wireframe network takes: 0 to 1 in, its own mean and spread out."""
    mean = torch.tensor([109.730, 103.832, 98.681], device=picture.device).view(1, 3, 1, 1)
    spread = torch.tensor([22.275, 22.124, 23.229], device=picture.device).view(1, 3, 1, 1)
    grey_hole = picture * 255.0 * (1 - hole) + torch.ones_like(picture) * hole * 127.5
    return (grey_hole - mean) / spread


def _spread(known: NDArray[np.float32], side: NDArray[np.float32]) -> NDArray[np.float32]:
    return (cv2.filter2D(known, -1, side) > 0).astype(np.float32)
