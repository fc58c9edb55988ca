"""Inputs for any model, generated from its spec and a seed: structured pictures, and masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from paintmq.model import InputSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def make_inputs(inputs: Sequence[InputSpec], size: tuple[int, int], seed: int) -> dict[str, Any]:
    """Return an array for each image that is required and each mask; ``size`` is (height, width).

    A mask that may be left out is made all the same: inpainting is mostly done with one.

    Raises:
        TypeError: an input is plain data, which only the model's author can make up.
    """
    made: dict[str, Any] = {}
    for wanted in inputs:
        if not wanted.required and wanted.kind != "mask":
            continue
        match wanted.kind:
            case "image":
                made[wanted.name] = make_picture(size, seed)
            case "mask":
                made[wanted.name] = make_mask(size, seed)
            case "data":
                raise TypeError(
                    f"the data input {wanted.name!r} cannot be made up: override"
                    " make_inputs() and return it there"
                )
    return made


def make_picture(size: tuple[int, int], seed: int, channels: int = 3) -> "NDArray[np.uint8]":
    """Return uint8 of shape (H, W, channels): colours that run, edges, and a little noise."""
    import numpy as np

    height, width = size
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    phases = random.uniform(0, 6.28, channels)
    waves = np.stack([np.sin(9 * rows + 5 * columns + phase) for phase in phases], axis=-1)
    picture = 128 + 90 * waves + random.normal(0, 4, (height, width, channels))
    picture[height // 4 : height // 2, width // 4 : width // 2] = random.integers(0, 256, channels)
    return picture.clip(0, 255).astype(np.uint8)


def make_mask(size: tuple[int, int], seed: int) -> "NDArray[np.uint8]":
    """Return uint8 of shape (H, W): 255 in one rectangle, a sixteenth of the picture or so."""
    import numpy as np

    height, width = size
    random = np.random.default_rng(seed)
    top = int(random.integers(0, max(1, height - height // 4)))
    left = int(random.integers(0, max(1, width - width // 4)))
    mask = np.zeros(size, np.uint8)
    mask[top : top + max(1, height // 4), left : left + max(1, width // 4)] = 255
    return mask
