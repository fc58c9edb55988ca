"""Encoded image files to pixels and back, with every limit checked before anything is decoded.

Rule 1: only PNG, JPEG, WebP and TIFF are opened, each told by its first bytes; a file in some
other format never reaches a decoder.
Rule 2: width and height are read from the header and checked first, so that a small file cannot
claim much memory.
Rule 3: whatever is wrong with a file, the error is InvalidInputError with a text for its sender.

PIL, numpy and OpenCV are imported where they are used: a client that only sends files needs none.
"""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import frozen

from paintmq.config import Limits
from paintmq.errors import InvalidInputError
from paintmq.task import Buffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.ImageFile import ImageFile

    Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]

ImageFormat: TypeAlias = Literal["png", "jpeg", "webp", "tiff"]

FORMATS_BY_SUFFIX: dict[str, ImageFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""File name endings, lower case, of the formats that are read and written."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_ICC_PROFILE = 34675
_TIFF_BYTES = 7
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, KeyError, struct.error, zlib.error)
"""What PIL raises on damaged files; it documents no common base."""


@frozen(eq=False)
class DecodedImage:
    """An image file's pixels, turned upright, and what came with them."""

    pixels: "Pixels"
    """uint8 or uint16, shape (height, width, 3) or (height, width, 4), RGB(A), rows top to
    bottom. Grey and palette images come as RGB; alpha is straight, not premultiplied."""
    format: ImageFormat
    icc_profile: bytes | None = None
    """Colour profile that fits the pixels; None when the file had none for RGB."""


def format_of(data: Buffer) -> ImageFormat | None:
    """Return which of our formats the first bytes announce, or None."""
    head = bytes(data[:12])
    if head.startswith(_PNG_SIGNATURE):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    return None


def size_of_file(data: Buffer) -> tuple[int, int]:
    """Return (width, height) from the header of an image file; (0, 0) if it cannot be told."""
    try:
        with _open(data) as image:
            return image.size
    except InvalidInputError:
        return 0, 0


def decode_image(
    data: Buffer, limits: Limits | None = None, *, name: str = "image"
) -> DecodedImage:
    """Decode an image file; ``name`` is what errors call it.

    Raises:
        InvalidInputError: the file is damaged, no image of our formats, animated or too large.
    """
    import numpy as np

    with _open(data, name=name) as image:
        _check_limits(image, limits or Limits(), name)
        if image.mode in ("I", "F"):
            raise InvalidInputError(f"{name}: more than 16 bits a channel; use 8 or 16")
        kind = format_of(data)
        assert kind is not None
        icc_profile = _rgb_profile(image)
        try:
            if _has_16_bits(image, data):
                pixels = _decode_16_bits(image, data, name)
            else:
                pixels = np.asarray(_to_8_bit_rgb(image))
        except InvalidInputError:
            raise
        except _UNREADABLE as error:
            raise InvalidInputError(f"{name}: the file is damaged or cut short") from error
    return DecodedImage(pixels, kind, icc_profile)


def encode_image(
    pixels: "Pixels",
    format: str = "png",
    *,
    icc_profile: bytes | None = None,
    quality: int = 95,
) -> bytes:
    """Return the pixels as an image file.

    Args:
        pixels: uint8 or uint16 of shape (H, W), (H, W, 3) or (H, W, 4), RGB(A).
        format: ``png``, ``jpeg``, ``webp`` or ``tiff``, or a file name ending such as ``.jpg``.
        icc_profile: Colour profile to put into the file.
        quality: 1 to 100, for JPEG and WebP.

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
    if pixels.dtype == np.uint16 and kind in ("png", "tiff"):
        return _encode_16_bits(pixels, kind, icc_profile)
    image = Image.fromarray(to_8_bits(pixels))
    if kind == "jpeg" and image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    stream = BytesIO()
    if kind == "png":
        image.save(stream, "PNG", icc_profile=icc_profile)
    elif kind == "tiff":
        image.save(stream, "TIFF", icc_profile=icc_profile, compression="tiff_lzw")
    else:
        image.save(stream, kind.upper(), icc_profile=icc_profile, quality=quality)
    return stream.getvalue()


def to_8_bits(pixels: "Pixels") -> "NDArray[np.uint8]":
    """Return the pixels as uint8; uint16 is rounded to the nearest level."""
    import numpy as np

    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _open(data: Buffer, *, name: str = "image") -> "ImageFile":
    """Read the header.

    The format's own class is called rather than ``Image.open``: that one would warn about large
    images, by a global limit, before ours is asked.
    """
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    kind = format_of(data)
    if kind is None:
        raise InvalidInputError(f"{name}: not a PNG, JPEG, WebP or TIFF file")
    readers: dict[ImageFormat, Callable[[BytesIO], ImageFile]] = {
        "png": PngImageFile,
        "jpeg": JpegImageFile,
        "webp": WebPImageFile,
        "tiff": TiffImageFile,
    }
    try:
        return readers[kind](BytesIO(data))
    except _UNREADABLE as error:
        raise InvalidInputError(f"{name}: the {kind.upper()} file is damaged") from error


def _check_limits(image: "ImageFile", limits: Limits, name: str) -> None:
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise InvalidInputError(
            f"{name}: {width} x {height} pixels; a side may have {limits.max_side} at most"
        )
    if width * height > limits.max_pixels:
        raise InvalidInputError(
            f"{name}: {width} x {height} is {width * height:,} pixels;"
            f" {limits.max_pixels:,} are allowed"
        )
    try:
        frames = getattr(image, "n_frames", 1)
    except _UNREADABLE as error:
        raise InvalidInputError(f"{name}: the file is damaged") from error
    if frames != 1:
        raise InvalidInputError(f"{name}: the file holds {frames} images; send one at a time")


def _rgb_profile(image: "ImageFile") -> bytes | None:
    """Return the file's colour profile if it describes RGB, as our pixels are."""
    profile = image.info.get("icc_profile")
    # ICC.1:2022 table 17: bytes 16 to 19 of the header are the colour space of the data.
    if isinstance(profile, bytes) and profile[16:20] == b"RGB ":
        return profile
    return None


def _has_16_bits(image: "ImageFile", data: Buffer) -> bool:
    if image.format == "PNG":
        return bytes(data[24:25]) == b"\x10"  # IHDR: bit depth
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE, (8,))
        return 16 in (bits if isinstance(bits, tuple) else (bits,))
    return False


def _decode_16_bits(image: "ImageFile", data: Buffer, name: str) -> "NDArray[np.uint16]":
    """Decode with OpenCV: PIL would drop the lower eight bits of colour images."""
    import cv2
    import numpy as np

    width, height = image.size
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise InvalidInputError(f"{name}: the file is damaged") from error
    if decoded is None or decoded.dtype != np.uint16:
        raise InvalidInputError(f"{name}: the file is damaged, or of a rare kind; try 8-bit PNG")
    pixels = decoded.astype(np.uint16, copy=False)
    if sorted(pixels.shape[:2]) != sorted((width, height)):
        raise InvalidInputError(f"{name}: the file contradicts itself about its size")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    elif pixels.shape[2] == 3:
        pixels = pixels[:, :, ::-1]
    else:
        pixels = pixels[:, :, [2, 1, 0, 3]]
    # OpenCV turns TIFF files upright itself, and leaves PNG files as they lie.
    if image.format == "PNG":
        pixels = _turn_upright(pixels, image.getexif().get(0x0112, 1))
    return np.ascontiguousarray(pixels)


def _turn_upright(pixels: "NDArray[np.uint16]", orientation: int) -> "NDArray[np.uint16]":
    """Undo an EXIF orientation, 1 to 8 (CIPA DC-008, table 8)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _to_8_bit_rgb(image: "ImageFile") -> "Image.Image":
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode == "CMYK":
        return _cmyk_to_rgb(upright)
    return upright.convert("RGBA" if upright.has_transparency_data else "RGB")


def _cmyk_to_rgb(image: "Image.Image") -> "Image.Image":
    """Convert by the file's own profile, where it has a usable one."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, *_UNREADABLE):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


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
    header_end = len(_PNG_SIGNATURE) + 25  # length, "IHDR", 13 bytes, checksum
    return data[:header_end] + chunk + data[header_end:]


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
