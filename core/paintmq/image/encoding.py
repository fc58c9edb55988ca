"""Pixels to encoded image files.

PIL, numpy and OpenCV are imported where they are used, as for decoding.
"""

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

from paintmq.errors import InvalidInputError
from paintmq.image.formats import FORMATS_BY_SUFFIX, ImageFormat
from paintmq.image.metadata import PNG_SIGNATURE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]

_TIFF_ICC_PROFILE = 34675
_TIFF_BYTES = 7
_PNG_HEADER_END = len(PNG_SIGNATURE) + 25
"""Behind length, "IHDR", 13 bytes and checksum."""


def encode_image(
    pixels: "Pixels",
    format: str = "png",
    *,
    icc_profile: bytes | None = None,
    quality: int = 95,
    dpi: tuple[float, float] | None = None,
    grey: bool = False,
) -> bytes:
    """Return the pixels as an image file.

    Args:
        pixels: uint8 or uint16 of shape (H, W), (H, W, 3) or (H, W, 4), RGB(A).
        format: ``png``, ``jpeg``, ``webp`` or ``tiff``, or a file name ending such as ``.jpg``.
        icc_profile: Colour profile to put into the file.
        quality: 1 to 100, for JPEG and WebP.
        dpi: Pixels per inch, horizontal and vertical, to put into PNG, JPEG and TIFF files.
        grey: Write one channel instead of three, if they are equal; a profile for RGB is left out.

    PNG and TIFF keep 16 bits, the others get the upper 8. JPEG has no transparency: the picture is
    laid on white.

    Raises:
        InvalidInputError: the format is none of ours, or the array is no image.
    """
    import numpy as np
    from PIL import Image

    kind = FORMATS_BY_SUFFIX.get(f".{format.lower().lstrip('.')}")
    if kind is None:
        known = ", ".join(sorted(suffix.lstrip(".") for suffix in FORMATS_BY_SUFFIX))
        raise InvalidInputError(f"cannot write {format!r} images: use one of {known}")
    if pixels.dtype not in (np.uint8, np.uint16) or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    ):
        raise InvalidInputError(
            f"cannot write an array of {pixels.dtype} and shape {pixels.shape} as an image:"
            " it must be uint8 or uint16 of shape (H, W), (H, W, 3) or (H, W, 4)"
        )
    if grey and (single := _single_channel(pixels)) is not None:
        pixels, icc_profile = single, None
    if pixels.dtype == np.uint16 and kind in ("png", "tiff"):
        return _with_resolution(_encode_16_bits(pixels, kind, icc_profile), kind, dpi)
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        image = Image.fromarray(to_8_bits(pixels), "LA")
    else:
        image = Image.fromarray(to_8_bits(pixels))
    if kind == "jpeg" and image.mode in ("RGBA", "LA"):
        white = Image.new("RGBA", image.size, "white")
        laid = Image.alpha_composite(white, image.convert("RGBA"))
        image = laid.convert("RGB" if image.mode == "RGBA" else "L")
    more: dict[str, Any] = {"icc_profile": icc_profile}
    if dpi is not None and kind != "webp":
        more["dpi"] = dpi
    if kind == "tiff":
        more["compression"] = "tiff_lzw"
    elif kind != "png":
        more["quality"] = quality
    stream = BytesIO()
    image.save(stream, kind.upper(), **more)
    return stream.getvalue()


def _single_channel(pixels: "Pixels") -> "Pixels | None":
    """Return grey, with its alpha if there is one; None if the colours differ."""
    import numpy as np

    if pixels.ndim == 2:
        return pixels
    first = pixels[:, :, :1]
    if not np.array_equal(pixels[:, :, 1:3], np.broadcast_to(first, (*pixels.shape[:2], 2))):
        return None
    if pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels[:, :, 0])
    return np.ascontiguousarray(pixels[:, :, [0, 3]]) if pixels.dtype == np.uint8 else None


def to_8_bits(pixels: "Pixels") -> "NDArray[np.uint8]":
    """Return the pixels as uint8; uint16 is rounded to the nearest level."""
    import numpy as np

    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _encode_16_bits(pixels: "Pixels", kind: ImageFormat, icc_profile: bytes | None) -> bytes:
    """Encode with OpenCV, which alone writes 16-bit colour; its older releases know no profiles."""
    import cv2
    import numpy as np

    if pixels.ndim == 3:
        order = [2, 1, 0] if pixels.shape[2] == 3 else [2, 1, 0, 3]
        pixels = pixels[:, :, order]
    _, encoded = cv2.imencode(f".{kind}", np.ascontiguousarray(pixels))
    data = encoded.tobytes()
    if not icc_profile:
        return data
    with_profile = _with_png_profile if kind == "png" else _with_tiff_profile
    return with_profile(data, icc_profile)


def _with_png_profile(data: bytes, icc_profile: bytes) -> bytes:
    """Insert an iCCP chunk behind the header, where PNG (ISO 15948, 5.6) wants it."""
    body = b"iCCP" + b"ICC Profile\0\0" + zlib.compress(icc_profile)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:_PNG_HEADER_END] + chunk + data[_PNG_HEADER_END:]


def _with_resolution(data: bytes, kind: ImageFormat, dpi: tuple[float, float] | None) -> bytes:
    """Put a resolution into a 16-bit PNG, behind its header; OpenCV writes none."""
    if dpi is None or kind != "png":
        return data
    per_metre = [round(side / 0.0254) for side in dpi]
    body = b"pHYs" + struct.pack(">IIB", *per_metre, 1)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:_PNG_HEADER_END] + chunk + data[_PNG_HEADER_END:]


def _with_tiff_profile(data: bytes, icc_profile: bytes) -> bytes:
    """Append the profile, and a copy of the directory that names it too (TIFF 6.0, section 2)."""
    order = "<" if data.startswith(b"II") else ">"
    (directory_at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory_at)
    first = directory_at + 2
    entries = [data[first + at * 12 : first + at * 12 + 12] for at in range(count)]
    data += bytes(len(data) % 2)  # "must begin on a word boundary"
    profile = icc_profile + bytes(len(icc_profile) % 2)
    entries.append(
        struct.pack(f"{order}HHII", _TIFF_ICC_PROFILE, _TIFF_BYTES, len(icc_profile), len(data))
    )
    # "sorted in ascending order by Tag"
    entries.sort(key=lambda entry: struct.unpack_from(f"{order}H", entry)[0])
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    place = struct.pack(f"{order}I", len(data) + len(profile))
    return data[:4] + place + data[8:] + profile + directory
