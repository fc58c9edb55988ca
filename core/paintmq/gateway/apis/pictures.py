"""Pictures and masks as clients send them, and as they want them back.

Each client's mask has a meaning of its own (``MaskMeaning``); the core's is a fourth. The pictures'
bytes are looked at, never their declared types.
"""

import base64
import binascii
import struct
import zlib
from enum import Enum
from io import BytesIO
from typing import TYPE_CHECKING, Any

from paintmq.config import Limits
from paintmq.errors import InvalidInputError
from paintmq.gateway.apis.decoding import room_for
from paintmq.gateway.apis.faults import ApiError, wrong
from paintmq.image import decode_image, encode_image, format_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""By format: what is sent back."""
BRUSH = (255, 203, 0, 186)
"""RGBA of a mask that IOPaint's page shows."""
_HEADER_END = 33
"""Of a PNG file: signature, and IHDR with length and checksum."""
_ALPHA_128, _LUMINANCE_127 = 128, 127


class MaskMeaning(Enum):
    """What a mask says is to be changed."""

    IOPAINT = "luminance above 127, whatever the alpha"
    AUTOMATIC1111 = "alpha above 128 where it is not opaque everywhere, else luminance above 127"
    OPENAI = "alpha 0, whatever the colour beneath"


def bytes_of(text: object, name: str) -> bytes:
    """Return the picture in a data address or bare base64.

    Raises:
        ApiError: it is neither.
    """
    if not isinstance(text, str) or not text:
        raise wrong(f"{name}: send a picture in base64", name)
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise wrong(f"{name}: this data address holds no base64", name)
    try:
        # Lines may be broken, as in mail; everything else is an error.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise wrong(f"{name}: this is no base64", name) from None


def pixels_of(data: bytes, name: str) -> "NDArray[Any]":
    """Return the upright pixels of a picture, (H, W, 3) or (H, W, 4), uint8 or uint16.

    Raises:
        ApiError: it is no picture, or too large.
        RefusedRequestError: there is no room for it now.
    """
    try:
        with room_for(data) as room:
            return room.keep(decode_image(data, Limits(), name=name).pixels)
    except InvalidInputError as error:
        raise ApiError(400, str(error), "invalid_image", name) from error


def mask_of(data: bytes, meaning: MaskMeaning, *, name: str = "mask") -> "NDArray[np.uint8]":
    """Return the mask as the core takes it: uint8, (H, W), 255 where the picture changes, else 0.

    Raises:
        ApiError: it is no picture.
    """
    return mask_of_pixels(pixels_of(data, name), meaning)


def mask_of_pixels(pixels: "NDArray[Any]", meaning: MaskMeaning) -> "NDArray[np.uint8]":
    import numpy as np

    from paintmq.image import to_8_bits

    eight = to_8_bits(pixels)
    alpha = eight[:, :, 3] if eight.shape[2] == 4 else None
    if meaning is MaskMeaning.OPENAI:
        marked = np.zeros(eight.shape[:2], bool) if alpha is None else alpha == 0
    elif (
        meaning is MaskMeaning.AUTOMATIC1111 and alpha is not None and alpha.min(initial=255) < 255
    ):
        marked = alpha > _ALPHA_128
    else:
        marked = luminance(eight) > _LUMINANCE_127
    return marked.view(np.uint8) * np.uint8(255)


def luminance(pixels: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """Return 0.299 R + 0.587 G + 0.114 B, whatever the alpha (ITU-R BT.601)."""
    import numpy as np

    weights = np.array([0.299, 0.587, 0.114], np.float32)
    grey: NDArray[np.float32] = pixels[:, :, :3].astype(np.float32) @ weights
    return grey


def check_same_size(picture: "NDArray[Any]", mask: "NDArray[Any]") -> None:
    """Refuse a mask of another size than its picture's.

    Raises:
        ApiError: they differ.
    """
    if picture.shape[:2] != mask.shape[:2]:
        (height, width), (mask_height, mask_width) = picture.shape[:2], mask.shape[:2]
        raise wrong(
            f"mask: it has {mask_width} x {mask_height} pixels, and the picture {width} x {height}",
            "mask",
        )


def brush_mask(marked: "NDArray[Any]") -> bytes:
    """Return a PNG of the brush's colour where ``marked``, (H, W), is true, and all 0 elsewhere."""
    import numpy as np

    shown = np.zeros((*marked.shape, 4), np.uint8)
    shown[marked.astype(bool)] = BRUSH
    return encode_image(shown, "png")


def format_to_answer(data: bytes) -> str:
    """Return the format of the bytes if it is one to answer in, else png."""
    kind = format_of(data)
    return kind if kind in MEDIA_TYPES else "png"


def resized(pixels: "NDArray[Any]", width: int, height: int) -> "NDArray[Any]":
    """Return the picture in exactly that size."""
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    smaller = width * height < pixels.shape[0] * pixels.shape[1]
    kind = cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4
    made: NDArray[Any] = cv2.resize(pixels, (width, height), interpolation=kind)
    return made


def png_text(data: bytes, key: str) -> str:
    """Return a text of a PNG file; empty where it has none. No pixel is decoded."""
    if format_of(data) != "png":
        return ""
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            return str(image.info.get(key, ""))
    except Exception:  # noqa: BLE001 -- whatever stands beside the pixels may be broken
        return ""


def with_png_text(data: bytes, key: str, text: str) -> bytes:
    """Return a PNG file with a text beside its pixels, after the header (ISO 15948, iTXt)."""
    body = key.encode("latin-1") + b"\0\0\0\0\0" + text.encode("utf-8", "replace")
    chunk = b"iTXt" + body
    framed = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:_HEADER_END] + framed + data[_HEADER_END:]
