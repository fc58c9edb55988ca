"""The parts of a picture that a mask is about."""

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray


@frozen
class Box:
    """A rectangle in pixels; right and bottom are outside it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def boxes_of(mask: NDArray[np.uint8]) -> list[Box]:
    """Return the bounding box of each connected region of the mask, in OpenCV's order."""
    filled = np.where(mask > 127, np.uint8(255), np.uint8(0))
    contours, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for contour in contours:
        left, top, width, height = cv2.boundingRect(contour)
        boxes.append(Box(left, top, left + width, top + height))
    return boxes


def with_margin(box: Box, margin: int, height: int, width: int) -> Box:
    """Return the box grown by a margin on each side.

    At the edge of a picture of this height and width it is moved inwards rather than cut, so that
    a network sees as much around a region there as elsewhere.
    """
    left, right = _grow(box.left, box.right, margin, width)
    top, bottom = _grow(box.top, box.bottom, margin, height)
    return Box(left, top, right, bottom)


def _grow(start: int, end: int, margin: int, length: int) -> tuple[int, int]:
    half = (end - start + 2 * margin) // 2
    centre = (start + end) // 2
    start, end = centre - half, centre + half
    if start < 0:
        end -= start
        start = 0
    if end > length:
        start -= end - length
        end = length
    return max(start, 0), min(end, length)
