"""What the page's plugins ask for, and masks as the page shows them."""

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from attrs import frozen

from paintmq.gateway.apis.faults import wrong
from paintmq.gateway.apis.pictures import MaskMeaning, brush_mask, bytes_of, mask_of
from paintmq.image import MASK_THRESHOLD

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDENED = 4
"""Pixels by which a mask that a plugin found is made wider each way, as IOPaint does: what is to be
removed has soft edges."""
MOST_KERNEL = 500

T = TypeVar("T")


class _PluginBody(msgspec.Struct, kw_only=True):
    name: str
    image: str
    scale: float = 2.0


class _AdjustmentBody(msgspec.Struct, kw_only=True):
    mask: str
    operate: Literal["expand", "shrink", "reverse"]
    kernel_size: int = 5


@frozen
class PluginRequest:
    """A plugin by its name, and the picture it is to work on."""

    name: str
    data: bytes
    scale: float


@frozen(eq=False)
class Adjustment:
    """A mask, and what is to become of it."""

    mask: "NDArray[Any]"
    operate: str
    kernel: int


def read_plugin_request(body: bytes) -> PluginRequest:
    """Return what a plugin is asked for.

    Raises:
        ApiError: the body is wrong.
    """
    asked = _decoded(body, _PluginBody)
    return PluginRequest(asked.name, bytes_of(asked.image, "image"), asked.scale)


def read_adjustment(body: bytes) -> Adjustment:
    """Return the mask to be made wider, narrower, or turned round.

    Raises:
        ApiError: the body is wrong.
    """
    asked = _decoded(body, _AdjustmentBody)
    if not 0 <= asked.kernel_size <= MOST_KERNEL:
        raise wrong(f"kernel_size must be 0 to {MOST_KERNEL}", "kernel_size", status=422)
    mask = mask_of(bytes_of(asked.mask, "mask"), MaskMeaning.IOPAINT)
    return Adjustment(mask, asked.operate, asked.kernel_size)


def adjusted(asked: Adjustment) -> bytes:
    """Return the mask as the page shows it, a PNG in the brush's colour."""
    import cv2

    side = 2 * asked.kernel + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    match asked.operate:
        case "expand":
            return brush_mask(cv2.dilate(asked.mask, kernel))
        case "shrink":
            return brush_mask(cv2.erode(asked.mask, kernel))
        case _:
            return brush_mask(255 - asked.mask)


def foreground_mask(found: "NDArray[Any]") -> bytes:
    """Return what a model found in front, a little wider, in the brush's colour."""
    import cv2
    import numpy as np

    grey = found if found.ndim == 2 else found[:, :, 0]
    marked = (grey > MASK_THRESHOLD).astype(np.uint8)
    side = 2 * WIDENED + 1
    return brush_mask(cv2.dilate(marked, np.ones((side, side), np.uint8)))


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except RecursionError:
        raise wrong("the body is nested too deeply", status=422) from None
    except msgspec.MsgspecError as error:
        raise wrong(f"the body cannot be read: {error}", status=422) from error
