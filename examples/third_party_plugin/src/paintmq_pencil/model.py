"""The pencil: what is darker than its surroundings becomes a stroke.

Only workers import this module, once their device is chosen; it may import what it likes.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paintmq.model import Device, Model, Outputs, Request, RunContext
from paintmq_pencil.manifest import PencilOptions

Tones: TypeAlias = NDArray[np.float32]
"""Shape (H, W, 3) or, of a grey picture, (H, W, 1); 0 is black and 1 is white."""

PASSES = 3
"""Box blurs that make a smooth one."""
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma


class Pencil(Model):
    """Nothing to load: the whole model is arithmetic."""

    def load(self, device: Device) -> None:
        """Be ready. A model with weights would read them here, from ``self.weights.path(...)``."""

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        total = len(batch) * PASSES
        return [
            {"image": self._draw(request, context, done=place * PASSES, total=total)}
            for place, request in enumerate(batch)
        ]

    def _draw(
        self, request: Request, context: RunContext, *, done: int, total: int
    ) -> NDArray[Any]:
        """Return the drawing: shape and dtype of the photograph."""
        image: NDArray[Any] = request.inputs["image"]
        options: PencilOptions = request.options
        white = np.iinfo(image.dtype).max
        tones: Tones = (image[:, :, :3] / np.float32(white)).astype(np.float32)
        if not options.coloured:
            tones = (tones @ GREY)[:, :, np.newaxis].astype(np.float32)
        surroundings = tones
        for step in range(1, PASSES + 1):
            context.raise_if_cancelled()
            surroundings = box_blur(surroundings, options.softness)
            strokes = dodge(tones, surroundings, options.darkness)
            context.progress(done + step, total, preview=as_picture(strokes))
        result = image.copy()  # inputs are read-only; alpha stays as it is
        result[:, :, :3] = np.round(strokes * white)
        return result


def dodge(tones: Tones, surroundings: Tones, darkness: float) -> Tones:
    """Return 1 (paper) where a tone is no darker than its surroundings, less where it is."""
    ratio = (tones + 1e-3) / (surroundings + 1e-3)
    strokes: Tones = np.power(np.clip(ratio, 0, 1), 4 * darkness, dtype=np.float32)
    return strokes


def box_blur(tones: Tones, radius: int) -> Tones:
    """Return the mean over (2 radius + 1) squared pixels around each; edges are continued."""
    width = 2 * radius + 1
    for axis in (0, 1):
        margins = [(0, 0)] * 3
        margins[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(tones, margins, mode="edge"), axis=axis, dtype=np.float64)
        length = tones.shape[axis]
        ends = np.take(sums, range(width, width + length), axis=axis)
        starts = np.take(sums, range(length), axis=axis)
        means: NDArray[np.float64] = (ends - starts) / width
        tones = means.astype(np.float32)
    return tones


def as_picture(strokes: Tones) -> NDArray[np.uint8]:
    """Return a preview: uint8, (H, W, 3), RGB."""
    picture = np.round(strokes * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))
