"""Putting filled pixels into the original, which keeps its depth, its alpha and all the rest."""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]


def paste(
    image: Pixels, filled: NDArray[np.float64], mask: NDArray[np.uint8], feather: int = 0
) -> Pixels:
    """Return a copy of the image with its colour replaced where the mask is 255, and only there.

    Args:
        image: uint8 or uint16, shape (H, W, 3) or (H, W, 4), RGB(A); alpha is kept.
        filled: Colours of shape (H, W, 3) from 0 to 255, whatever the depth of the image.
        mask: uint8, shape (H, W), 0 or 255.
        feather: Over so many pixels inwards from the mask's edge the filled colours fade in.
    """
    inside = mask > 127
    result = image.copy()
    colours = np.clip(filled[inside], 0, 255)
    if image.dtype == np.uint16:
        colours = colours * 257
    if feather > 0:
        weight = feathered(mask, feather)[inside][:, None]
        colours = np.rint(colours * weight + image[inside][:, :3] * (1 - weight))
    result[inside, :3] = colours
    return result


def feathered(mask: NDArray[np.uint8], feather: int) -> NDArray[np.float64]:
    """Return weights from 0 to 1: nothing outside the mask, and all of it ``feather`` pixels in."""
    inside = np.where(mask > 127, np.uint8(1), np.uint8(0))
    # Where there is nothing outside, there is no edge to fade from.
    if inside.all():
        return np.ones(mask.shape)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.clip(depth.astype(np.float64) / (feather + 1), 0, 1)
