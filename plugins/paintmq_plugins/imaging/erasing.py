"""Filling a mask by a network, over whole pictures, crops or smaller copies.

The steps and their roundings are those of IOPaint 1.6.0, pixel by pixel, which people's results
are compared with; the tests do. Rule: only pixels inside the mask ever change.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from paintmq.image import check_mask_fits, to_8_bits
from paintmq_plugins.erase_options import EraseOptions
from paintmq_plugins.imaging.padding import Padding, pad
from paintmq_plugins.imaging.pasting import Pixels, paste
from paintmq_plugins.imaging.regions import Box, boxes_of, with_margin

Network: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.uint8]]
"""Takes a padded picture, uint8 (H, W, 3) RGB, and its mask, uint8 (H, W), in which resizing may
have left values between 0 and 255; returns a picture of that shape."""

Step: TypeAlias = Callable[[int, int], None]
"""Told before each run of the network how many are done, of how many; may raise to stop."""


@frozen(kw_only=True)
class Eraser:
    """A network, and how pictures are brought to it."""

    network: Network
    padding: Padding

    def erase(
        self, image: Pixels, mask: NDArray[np.uint8], options: EraseOptions, step: Step
    ) -> Pixels:
        """Return a copy of the image, of its own depth and alpha, with the mask filled.

        Raises:
            InvalidInputError: image and mask differ in size.
        """
        check_mask_fits(image, mask)
        if not mask.any():
            return image.copy()
        rgb = np.ascontiguousarray(to_8_bits(image)[:, :, :3])
        longer = max(rgb.shape[:2])
        if options.strategy == "crop" and longer > options.crop_trigger:
            filled = self._fill_crops(rgb, mask, options, step)
        elif options.strategy == "resize" and longer > options.resize_limit:
            step(0, 1)
            filled = self.fill_smaller(rgb, mask, options.resize_limit)
        else:
            step(0, 1)
            filled = self._fill(rgb, mask)
        return paste(image, filled, mask, options.feather)

    def erase_regions(
        self, image: Pixels, mask: NDArray[np.uint8], limit: int, feather: int, step: Step
    ) -> Pixels:
        """Fill region by region, each with its surroundings shrunk to the network's own size.

        For networks that were trained at one size, ``limit`` squared, and are best at it.
        """
        check_mask_fits(image, mask)
        if not mask.any():
            return image.copy()
        rgb = np.ascontiguousarray(to_8_bits(image)[:, :, :3])
        if rgb.shape[:2] == (limit, limit):
            step(0, 1)
            return paste(image, self._fill(rgb, mask), mask, feather)
        filled = rgb.astype(np.float64)
        for box in _counted(_crops(mask, margin=128), step):
            filled[box.slices] = self.fill_smaller(rgb[box.slices], mask[box.slices], limit)
        return paste(image, filled, mask, feather)

    def fill_smaller(
        self, rgb: NDArray[np.uint8], mask: NDArray[np.uint8], limit: int
    ) -> NDArray[np.float64]:
        """Fill a copy whose longer side is at most ``limit``, and return it at full size."""
        height, width = rgb.shape[:2]
        ratio = limit / max(height, width)
        if ratio < 1:
            size = (int(width * ratio + 0.5), int(height * ratio + 0.5))
            small = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC)
            small_mask = cv2.resize(mask, size, interpolation=cv2.INTER_CUBIC)
        else:
            small, small_mask = rgb, mask
        filled = self._fill(small.astype(np.uint8), small_mask.astype(np.uint8))
        if ratio < 1:
            resized = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
            filled = np.trunc(np.clip(resized.astype(np.float64), 0, 255))
        return filled

    def _fill_crops(
        self, rgb: NDArray[np.uint8], mask: NDArray[np.uint8], options: EraseOptions, step: Step
    ) -> NDArray[np.float64]:
        filled = rgb.astype(np.float64)
        for box in _counted(_crops(mask, options.crop_margin), step):
            # Each crop comes from the original: what an earlier one filled is not built upon. A
            # large one is shrunk, unlike IOPaint's: a mask may span the picture, memory may not.
            filled[box.slices] = self.fill_smaller(
                rgb[box.slices], mask[box.slices], options.resize_limit
            )
        return filled

    def _fill(self, rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Run the network on a padded copy; where the mask is grey, both colours are mixed."""
        height, width = mask.shape
        padded = np.ascontiguousarray(pad(rgb, self.padding))
        result = self.network(padded, np.ascontiguousarray(pad(mask, self.padding)))
        weight = mask[:, :, None] / 255
        mixed: NDArray[np.float64] = result[:height, :width] * weight + rgb * (1 - weight)
        return mixed


def _crops(mask: NDArray[np.uint8], margin: int) -> list[Box]:
    height, width = mask.shape
    return [with_margin(box, margin, height, width) for box in boxes_of(mask)]


def _counted(boxes: list[Box], step: Step) -> Iterable[Box]:
    for done, box in enumerate(boxes):
        step(done, len(boxes))
        yield box
