"""What a task looked like before its model ran: what the result is held to.

Rule 1: pixels outside an inpainting mask come out as they went in, bit by bit, whatever the model
did (I23), also to the arrays it was handed. So what is compared with is a copy that the model never
sees, made before it runs; that inputs are read-only only keeps honest models honest.
Rule 2: the copy becomes the result, so a picture is in memory once more while the model runs and
not at all more at the end; of the mask one bit a pixel is kept.
"""

from typing import TYPE_CHECKING, Any

from attrs import frozen

from paintmq.digests import is_cryptographic
from paintmq.errors import ModelError
from paintmq.model import Request
from paintmq.task import TaskType
from paintmq.worker.channel.messages import RunItem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@frozen(eq=False)
class OriginalPixels:
    """A picture and its mask as they came; ``with_filled`` may be called once."""

    _image: "NDArray[Any]"
    _filled: "NDArray[np.uint8]"
    """One bit a pixel, packed along the rows: set where the mask is."""

    @classmethod
    def of(cls, image: "NDArray[Any]", mask: "NDArray[Any]") -> "OriginalPixels":
        import numpy as np

        return cls(image.copy(), np.packbits(mask, axis=1))

    def with_filled(self, returned: object) -> "NDArray[Any]":
        """Return the picture with what the model returned where the mask is set.

        It has the depth and, where the model dropped it, the alpha channel of the picture.

        Raises:
            ModelError: there is no result, or it is of another size or depth.
        """
        import numpy as np

        if not isinstance(returned, np.ndarray):
            raise ModelError("the model returned no output 'image' for an inpainting task")
        image, result = self._image, np.asarray(returned)
        if result.ndim != 3 or result.shape[:2] != image.shape[:2] or result.dtype != image.dtype:
            raise ModelError(
                f"the model returned an image of shape {result.shape} and {result.dtype} for one of"
                f" shape {image.shape} and {image.dtype}"
            )
        if result.shape[2] not in (3, image.shape[2]):
            raise ModelError(f"the model returned {result.shape[2]} channels for {image.shape[2]}")
        rows = np.flatnonzero(self._filled.any(axis=1))
        if rows.size:  # only the rows that the mask touches are unpacked and gone through
            band = slice(rows[0], rows[-1] + 1)
            filled = np.unpackbits(self._filled[band], axis=1, count=image.shape[1]).view(bool)
            # One channel at a time: a condition that is broadcast over the channels would be gone
            # through in runs of three, many times as slowly.
            for channel in range(result.shape[2]):
                np.copyto(image[band, :, channel], result[band, :, channel], where=filled)
        return image


@frozen(kw_only=True)
class Original:
    """What must hold of a task's outputs, as it was before the model ran."""

    pixels: OriginalPixels | None
    """Set if the result may differ from the input only where the mask is."""
    icc_profile: bytes | None
    cryptographic: bool = False
    """Whether outputs have SHA-256 digests; see ``wants_cryptographic``."""
    note: str = ""
    """What the client should know of what it asked for; told with the result."""

    @classmethod
    def of(cls, item: RunItem, request: Request, *, fills_mask: bool = False) -> "Original":
        """Remember the request; call it before the model gets to see it.

        ``fills_mask``: the mask says what the model is to fill, also in a task of another type.
        """
        image, mask = request.inputs.get("image"), request.inputs.get("mask")
        # A model whose options say that this job extends the picture returns a larger one.
        extends = getattr(request.options, "extends", False) is True
        pixels: OriginalPixels | None = None
        note = ""
        may_paint_anywhere = item.task_type != TaskType.INPAINT or extends
        if not may_paint_anywhere and image is not None and mask is not None:
            pixels = OriginalPixels.of(image, mask)
        if (pixels is not None or (fills_mask and not extends)) and mask is not None and mask.all():
            note = "the mask covers the whole picture, so nothing of it was kept"
        return cls(
            pixels=pixels,
            icc_profile=request.icc_profile,
            cryptographic=wants_cryptographic(item),
            note=note,
        )


def wants_cryptographic(item: RunItem) -> bool:
    """Return whether the client may not know the digests of protocol version 2.

    Outputs have digests of the kind that the client has shown to know: that of its inputs, SHA-256
    where there are none.
    """
    return not item.inputs or any(is_cryptographic(info.digest) for info in item.inputs)
