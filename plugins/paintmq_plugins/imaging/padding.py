"""Growing a picture to a size that a network takes."""

from typing import TypeVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

_Array = TypeVar("_Array", bound=NDArray[np.generic])


@frozen(kw_only=True)
class Padding:
    """Which sizes a network takes."""

    modulo: int = 1
    """Height and width are multiples of it."""
    minimum: int = 0
    """Neither side is smaller."""
    square: bool = False

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Return the smallest height and width the network takes that hold the picture."""
        tall, wide = (
            max(self.minimum, -(-side // self.modulo) * self.modulo) for side in (height, width)
        )
        return (max(tall, wide),) * 2 if self.square else (tall, wide)


def pad(array: _Array, padding: Padding) -> _Array:
    """Return the array (H, W) or (H, W, C), grown to the right and below by its mirror image."""
    height, width = array.shape[:2]
    tall, wide = padding.size_for(height, width)
    if (tall, wide) == (height, width):
        return array
    grow = ((0, tall - height), (0, wide - width), *((0, 0),) * (array.ndim - 2))
    return np.pad(array, grow, mode="symmetric")  # type: ignore[return-value]  # same type
