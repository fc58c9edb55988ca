"""The part of a picture that a diffusion model paints on, and how it gets back into the picture."""

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from paintmq.image import check_mask_fits, to_8_bits
from paintmq_plugins.diffusion.memory import LEAST_SIDE, check_canvas
from paintmq_plugins.diffusion.options import DiffusionOptions
from paintmq_plugins.imaging.padding import Padding, pad
from paintmq_plugins.imaging.pasting import Pixels, paste
from paintmq_plugins.imaging.regions import Box, with_margin

PADDING = Padding(modulo=8, minimum=LEAST_SIDE)


@frozen(eq=False)
class Canvas:
    """What the model sees: a region of the picture, scaled, and padded to a size it takes."""

    picture: NDArray[np.uint8]
    """uint8 (H, W, 3) RGB; both sides multiples of 8 and at least 512."""
    mask: NDArray[np.uint8]
    """uint8 (H, W), 0 or 255."""
    _image: Pixels
    """The whole picture, extended if asked to."""
    _image_mask: NDArray[np.uint8]
    _box: Box
    _size: tuple[int, int]
    """Height and width before padding."""
    _blur: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is painted, without the padding."""
        return self._size

    @classmethod
    def prepare(cls, image: Pixels, mask: NDArray[np.uint8], options: DiffusionOptions) -> "Canvas":
        """Extend, crop, scale and pad, in this order, as far as the options ask for it.

        What the mask covers is covered on a smaller copy too, however thin it is.

        Raises:
            InvalidInputError: image and mask differ in size, or too much would be painted at once.
        """
        check_mask_fits(image, mask)
        image, mask = extended(image, mask, options)
        height, width = mask.shape
        box = Box(0, 0, width, height)
        if options.crop:
            box = surroundings(mask, options.crop_margin)
        rgb = np.ascontiguousarray(to_8_bits(image[box.slices])[:, :, :3])
        hole = np.ascontiguousarray(mask[box.slices])
        if options.scale < 1:
            size = (
                max(1, round(hole.shape[1] * options.scale)),
                max(1, round(hole.shape[0] * options.scale)),
            )
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
            covered = cv2.resize(hole, size, interpolation=cv2.INTER_AREA) > 0
            hole = np.where(covered, np.uint8(255), np.uint8(0))
        check_canvas(hole.size)
        return cls(
            pad(rgb, PADDING),
            pad(hole, PADDING),
            image,
            mask,
            box,
            (hole.shape[0], hole.shape[1]),
            options.mask_blur,
        )

    def finish(self, painted: NDArray[np.uint8]) -> Pixels:
        """Return the whole picture with what was painted inside the mask, and only there.

        Towards the mask's edge the painted colours fade into the picture's: the weights are the
        mask, blurred, as IOPaint mixes them, but without its blur beyond the mask.
        """
        height, width = self._size
        box, result = self._box, self._image.copy()
        colours = painted[:height, :width]
        if (height, width) != (box.bottom - box.top, box.right - box.left):
            size = (box.right - box.left, box.bottom - box.top)
            colours = cv2.resize(colours, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        hole = covered(self._image_mask)
        if hole is None:
            return result
        rows, columns = hole.slices
        # Only there does anything change, and a device may be waiting for its next task.
        colours = colours[
            rows.start - box.top : rows.stop - box.top,
            columns.start - box.left : columns.stop - box.left,
        ]
        weight = self._weight(hole)[:, :, None]
        region, mask = self._image[hole.slices], self._image_mask[hole.slices]
        original = to_8_bits(region)[:, :, :3].astype(np.float64)
        result[hole.slices] = paste(region, colours * weight + original * (1 - weight), mask)
        return result

    def _weight(self, box: Box) -> NDArray[np.float64]:
        """Return how much of what was painted counts, from 0 to 1, for a part of the picture."""
        (rows, columns), blur = box.slices, self._blur
        # The blur looks beyond the box, and no further than that.
        top, left = max(0, rows.start - blur), max(0, columns.start - blur)
        around = self._image_mask[top : rows.stop + blur, left : columns.stop + blur]
        inside = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        return blurred(around, blur)[inside]


def extended(
    image: Pixels, mask: NDArray[np.uint8], options: DiffusionOptions
) -> tuple[Pixels, NDArray[np.uint8]]:
    """Return picture and mask grown at the sides; what is new repeats the edge and is masked."""
    if not options.extends:
        return image, mask
    grow = (
        (options.extend_top, options.extend_bottom),
        (options.extend_left, options.extend_right),
    )
    grown: Pixels = np.pad(image, (*grow, (0, 0)), mode="edge")
    grown_mask: NDArray[np.uint8] = np.pad(mask, grow, constant_values=255)
    return grown, grown_mask


def covered(mask: NDArray[np.uint8]) -> Box | None:
    """Return the smallest box with everything that the mask covers; None if that is nothing."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def surroundings(mask: NDArray[np.uint8], margin: int) -> Box:
    """Return the masked region with a margin, at least 512 pixels a side where there are so many.

    Smaller canvases are below what the models were trained on.
    """
    height, width = mask.shape
    box = covered(mask) or Box(0, 0, width, height)
    least = PADDING.minimum
    across = max(margin, -(-(least - (box.right - box.left)) // 2))
    down = max(margin, -(-(least - (box.bottom - box.top)) // 2))
    wide, tall = with_margin(box, across, height, width), with_margin(box, down, height, width)
    return Box(wide.left, tall.top, wide.right, tall.bottom)


def blurred(mask: NDArray[np.uint8], radius: int) -> NDArray[np.float64]:
    """Return the mask from 0 to 1, its edges blurred."""
    if radius == 0:
        return mask.astype(np.float64) / 255
    side = 2 * radius + 1
    return cv2.GaussianBlur(mask, (side, side), 0).astype(np.float64) / 255
