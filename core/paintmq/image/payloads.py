"""Pictures as they travel and as models see them: payloads, pixels and masks.

A payload is a PayloadInfo and its bytes. Clients make payloads of arrays and files, model hosts
make pixels and masks of payloads, and the other way round with results.

Rule 1: code that turns a payload into pixels checks its digest and its limits first.
Rule 2: an array is never copied on its way to or from a payload; what comes out of a payload is a
read-only view of its bytes.

Encoded files: ``image/files.py``, whose names are public here too.
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from paintmq.config import Limits
from paintmq.digests import digest_of, is_known, matches
from paintmq.errors import InvalidInputError
from paintmq.image.files import DecodedImage, check_pixels, decode_image, format_of, size_of_file
from paintmq.shared_memory.ranges import place_of
from paintmq.task import Buffer, PayloadInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from paintmq.image.files import Pixels

ARRAY_DTYPES = ("bool", "uint8", "uint16", "int32", "float32")
"""Types an array payload may hold, always little-endian."""

MASK_THRESHOLD = 127
"""A mask pixel above this, of 255, is filled."""


def payload_of_array(
    name: str, array: "NDArray[Any]", *, cryptographic: bool = False
) -> tuple[PayloadInfo, Buffer]:
    """Describe an array as a payload; the buffer is a view of it unless it has to be reordered.

    ``cryptographic``: with a digest that cannot be forged, see ``digests.py``.

    Raises:
        InvalidInputError: it is empty or holds something else than ARRAY_DTYPES.
    """
    data = bytes_of_array(name, array)
    is_picture = array.ndim in (2, 3)
    return (
        PayloadInfo(
            name=name,
            size=data.nbytes,
            digest=digest_of(data, cryptographic=cryptographic),
            kind="array",
            dtype=array.dtype.name,
            shape=tuple(int(side) for side in array.shape),
            width=int(array.shape[1]) if is_picture else 0,
            height=int(array.shape[0]) if is_picture else 0,
        ),
        data,
    )


def bytes_of_array(name: str, array: "NDArray[Any]") -> memoryview:
    """Return an array's bytes as they travel: a view of it unless it has to be reordered.

    Raises:
        InvalidInputError: it is empty or holds something else than ARRAY_DTYPES.
    """
    import numpy as np

    dtype = array.dtype.name
    if dtype not in ARRAY_DTYPES:
        raise InvalidInputError(
            f"{name}: an array of {dtype} cannot be sent; use one of {', '.join(ARRAY_DTYPES)}"
        )
    if array.size == 0 or array.ndim == 0:
        raise InvalidInputError(f"{name}: an array of shape {array.shape} holds nothing")
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data


def payload_of_bytes(
    name: str, data: Buffer, *, cryptographic: bool = False
) -> tuple[PayloadInfo, Buffer]:
    """Describe a file's bytes as a payload; of an image, only the header is read.

    ``cryptographic``: with a digest that cannot be forged, see ``digests.py``.
    """
    width, height = size_of_file(data) if format_of(data) else (0, 0)
    return (
        PayloadInfo(
            name=name,
            size=memoryview(data).nbytes,
            digest=digest_of(data, cryptographic=cryptographic),
            kind="file",
            width=width,
            height=height,
        ),
        data,
    )


def check_payload(info: PayloadInfo, buffer: Buffer) -> None:
    """Check that the bytes match the payload's description.

    Raises:
        InvalidInputError: they are not.
    """
    if memoryview(buffer).nbytes != info.size:
        raise InvalidInputError(
            f"{info.name}: {memoryview(buffer).nbytes} bytes arrived, {info.size} were announced"
        )
    place = place_of(buffer)
    if place is not None and info.kind == "array":
        # It never left memory that both sides have: nothing can have damaged it on the way.
        if not place.is_as_written:
            raise InvalidInputError(
                f"{info.name}: its place in shared memory was written to anew; submit it again"
            )
        return
    if not is_known(info.digest):
        raise InvalidInputError(
            f"{info.name}: its checksum {info.digest[:12]!r} is of a kind that this PaintMQ does"
            " not know: update it"
        )
    if not matches(info.digest, buffer):
        raise InvalidInputError(f"{info.name}: the bytes do not match their checksum; send again")


def array_from_payload(info: PayloadInfo, buffer: Buffer) -> "NDArray[Any]":
    """Return the array a payload holds: a read-only view of its bytes.

    Raises:
        InvalidInputError: the payload is no array, or not what its description says.
    """
    import numpy as np

    if info.kind != "array" or info.dtype not in ARRAY_DTYPES:
        raise InvalidInputError(f"{info.name}: not an array PaintMQ can read")
    dtype = np.dtype(info.dtype).newbyteorder("<")
    if (
        not 1 <= len(info.shape) <= 8
        or min(info.shape) < 1
        or prod(info.shape) * dtype.itemsize != info.size
    ):
        raise InvalidInputError(
            f"{info.name}: {info.size} bytes are no array of {info.dtype} and shape {info.shape}"
        )
    check_payload(info, buffer)
    array = np.frombuffer(buffer, dtype).reshape(info.shape)
    array.flags.writeable = False
    return array


def image_from_payload(
    info: PayloadInfo, buffer: Buffer, limits: Limits | None = None
) -> DecodedImage:
    """Return the image a payload holds, whether it came as an array or as a file.

    Raises:
        InvalidInputError: it is no image, damaged or too large.
    """
    limits = limits or Limits()
    _check_size(info, limits)
    if info.kind == "file":
        buffer = _settled(buffer)
        check_payload(info, buffer)
        return decode_image(buffer, limits, name=info.name)
    pixels = image_from_array(array_from_payload(info, buffer), name=info.name)
    _check_shape(pixels.shape, limits, info.name)
    return DecodedImage(pixels, "png")


def mask_from_payload(
    info: PayloadInfo,
    buffer: Buffer,
    limits: Limits | None = None,
    *,
    must_fill: bool = False,
) -> "NDArray[np.uint8]":
    """Return the mask a payload holds: uint8, shape (height, width), 255 = fill, 0 = keep.

    Raises:
        InvalidInputError: it is no image, damaged or too large; or it fills nothing although it
            must.
    """
    limits = limits or Limits()
    _check_size(info, limits)
    if info.kind == "file":
        buffer = _settled(buffer)
        check_payload(info, buffer)
        return mask_from_array(
            decode_image(buffer, limits, name=info.name).pixels,
            name=info.name,
            must_fill=must_fill,
        )
    array = array_from_payload(info, buffer)
    _check_shape(array.shape, limits, info.name)
    return mask_from_array(array, name=info.name, must_fill=must_fill)


def image_from_array(array: "NDArray[Any]", *, name: str = "image") -> "Pixels":
    """Return the array as models see images: uint8 or uint16, (H, W, 3) or (H, W, 4), RGB(A).

    Grey becomes RGB. Colour arrays are returned as they are, without a copy.

    Raises:
        InvalidInputError: it is no image.
    """
    import numpy as np

    if array.dtype.name not in ("uint8", "uint16"):
        raise InvalidInputError(
            f"{name}: an image is an array of uint8 or uint16, not of {array.dtype.name}"
        )
    if array.ndim == 3 and array.shape[2] in (3, 4):
        return array
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        grey = array if array.ndim == 2 else array[:, :, 0]
        return np.repeat(grey[:, :, None], 3, axis=2)
    raise InvalidInputError(
        f"{name}: an image has the shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}"
    )


def mask_from_array(
    array: "NDArray[Any]", *, name: str = "mask", must_fill: bool = False
) -> "NDArray[np.uint8]":
    """Return the array as models see masks: uint8, shape (height, width), 255 = fill, 0 = keep.

    Booleans are taken as they are, floats above 0.5 and integers above 127 (of 255; of 16 bits,
    the same share) are filled. Colours count by their brightness, what is transparent is kept; but
    strokes of one colour on transparent ground are filled whatever their colour is.

    Raises:
        InvalidInputError: it is no mask, or a mask of 0 and 1, which would fill nothing; or it
            fills nothing although it must.
    """
    import numpy as np

    if array.ndim == 3 and array.shape[2] in (1, 3, 4):
        grey = _brightness(array)
    elif array.ndim == 2:
        grey = array
    else:
        raise InvalidInputError(
            f"{name}: a mask has the shape (H, W), (H, W, 3) or (H, W, 4), not {array.shape}"
        )
    match array.dtype.name:
        case "bool":
            filled = grey.astype(bool)
        case "uint8":
            filled = grey > MASK_THRESHOLD
        case "uint16":
            filled = grey > MASK_THRESHOLD * 257
        case "float32":
            filled = grey > 0.5
        case other:
            raise InvalidInputError(f"{name}: a mask is an array of bool or uint8, not of {other}")
    if array.dtype.kind == "u" and not filled.any() and grey.max(initial=0) == 1:
        raise InvalidInputError(
            f"{name}: its values are 0 and 1, so nothing would be filled;"
            " use 0 and 255, or an array of bool"
        )
    if must_fill and not filled.any():
        most = {"uint8": 255, "uint16": 65535}.get(array.dtype.name, 1)
        raise InvalidInputError(
            f"{name}: nothing in it is white (the brightest is {float(grey.max()):g} of {most}), so"
            " nothing would be filled"
        )
    return filled.view(np.uint8) * np.uint8(255)  # twenty times as fast as np.where


def check_mask_fits(image: "NDArray[Any]", mask: "NDArray[Any]") -> None:
    """Check that image and mask have the same height and width.

    Raises:
        InvalidInputError: they have not.
    """
    if image.shape[:2] != mask.shape[:2]:
        (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape[:2]
        turned = (mask_width, mask_height) == (height, width)
        hint = "; is it turned by its EXIF orientation? Masks are of the upright picture"
        raise InvalidInputError(
            f"mask: {mask_width} x {mask_height} pixels, but the image has {width} x {height}"
            + hint * turned
        )


def _settled(buffer: Buffer) -> Buffer:
    """Return bytes that no other process can change while they are decoded."""
    return buffer if place_of(buffer) is None else bytes(buffer)


def _brightness(array: "NDArray[Any]") -> "NDArray[Any]":
    """Return one channel: the mean of the colours, weighted by alpha where there is one."""
    import numpy as np

    if array.shape[2] == 1:
        return array[:, :, 0]
    if array.shape[2] == 4 and _is_of_one_colour(array):
        return array[:, :, 3]
    colours: NDArray[Any] = array[:, :, :3].astype(np.float32).mean(axis=2)
    if array.shape[2] == 4:
        opaque = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0}.get(array.dtype.name, 1.0)
        colours *= array[:, :, 3].astype(np.float32) / opaque
    return colours


def _is_of_one_colour(array: "NDArray[Any]") -> bool:
    """Return whether all that can be seen has one colour, and some of it cannot be seen."""
    seen = array[:, :, 3] > 0
    if seen.all() or not seen.any():
        return False
    colours = array[seen][:, :3]
    return bool((colours == colours[0]).all())


def _check_size(info: PayloadInfo, limits: Limits) -> None:
    if info.size > limits.max_payload_bytes:
        raise InvalidInputError(
            f"{info.name}: {info.size:,} bytes; {limits.max_payload_bytes:,} are allowed"
            " (limits.max_payload_bytes)"
        )


def _check_shape(shape: Sequence[int], limits: Limits, name: str) -> None:
    """Apply the limits of files to arrays."""
    check_pixels(shape[1] if len(shape) > 1 else 1, shape[0], limits, name)
