"""The opencv model: ``cv2.inpaint`` on the part of the picture that the mask touches."""

from collections.abc import Sequence
from math import ceil
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from paintmq.image import check_mask_fits
from paintmq.model import Device, Model, Outputs, Request, RunContext
from paintmq_plugins.opencv import OpenCvOptions

_AnyPixels = TypeVar("_AnyPixels", NDArray[np.uint8], NDArray[np.uint16])

ALGORITHMS = {"ns": cv2.INPAINT_NS, "telea": cv2.INPAINT_TELEA}


class OpenCvInpainting(Model):
    """Fills colour inside the mask; alpha and every pixel outside stay as they are."""

    def load(self, device: Device) -> None:
        cv2.setNumThreads(device.threads)

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        outputs: list[Outputs] = []
        for done, request in enumerate(batch):
            context.raise_if_cancelled()
            filled = inpaint(request.inputs["image"], request.inputs["mask"], request.options)
            outputs.append({"image": filled})
            context.progress(done + 1, len(batch))
        return outputs


def inpaint(image: _AnyPixels, mask: NDArray[np.uint8], options: OpenCvOptions) -> _AnyPixels:
    """Return a copy of the image with its colour filled where the mask is 255.

    Args:
        image: uint8 or uint16, shape (H, W, 3) or (H, W, 4), RGB(A).
        mask: uint8, shape (H, W), 0 or 255.
        options: Which algorithm, and how far it looks.
    """
    check_mask_fits(image, mask)
    result = image.copy()
    left, top, width, height = cv2.boundingRect(mask)
    if width == 0:
        return result
    # Neither algorithm looks further than two radii from the mask, so filling this part alone
    # gives the same pixels as filling the whole picture.
    margin = 2 * ceil(options.radius) + 4
    rows = slice(max(0, top - margin), top + height + margin)
    columns = slice(max(0, left - margin), left + width + margin)
    part, hole = result[rows, columns], np.ascontiguousarray(mask[rows, columns])
    flag = ALGORITHMS[options.algorithm]
    # Channel by channel is what OpenCV does with three channels too, and it takes 16 bits.
    for channel in range(3):
        colour = np.ascontiguousarray(part[:, :, channel])
        filled = cv2.inpaint(colour, hole, options.radius, flag)
        part[:, :, channel] = np.where(hole > 0, filled, colour)
    return result
