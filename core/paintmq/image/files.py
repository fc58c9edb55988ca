"""Encoded image files to pixels, with every limit checked before anything is decoded.

Rule 1: a format is told by its first bytes (``formats.py``); a file in some other format never
reaches a decoder, and a name says nothing.
Rule 2: width and height are read from the header and checked first, so that a small file cannot
claim much memory.
Rule 3: whatever is wrong with a file, the error is InvalidInputError with a text for its sender.
Rule 4: decoders get pixels without metadata (``metadata.py``): what stands beside good pixels never
makes them unreadable.

PIL, numpy and OpenCV are imported where they are used: a client that only sends files needs none.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen

from paintmq.config import Limits
from paintmq.errors import InvalidInputError
from paintmq.image.colours import cmyk_to_rgb, grey_levels, rgb_profile
from paintmq.image.encoding import encode_image, to_8_bits
from paintmq.image.formats import EXTRAS, FORMATS_BY_SUFFIX, ImageFormat, format_of
from paintmq.image.metadata import Metadata, exif_facts, plain_jpeg, plain_png, plain_webp
from paintmq.image.tiff import (
    BLACK_IS_ZERO,
    CIELAB,
    CMYK,
    WHITE_IS_ZERO,
    TiffPage,
    check_layout,
    decode_samples,
    open_tiff,
)
from paintmq.image.tiff import pillow_image as pillow_tiff
from paintmq.task import Buffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.ImageFile import ImageFile

    Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]

__all__ = [
    "FORMATS_BY_SUFFIX",
    "DecodedImage",
    "FileFacts",
    "ImageFormat",
    "decode_image",
    "encode_image",
    "facts_of_file",
    "format_of",
    "header_of_file",
    "is_readable",
    "size_of_file",
    "to_8_bits",
]


@frozen(eq=False)
class DecodedImage:
    """An image file's pixels, turned upright, and what came with them."""

    pixels: "Pixels"
    """uint8 or uint16, shape (height, width, 3) or (height, width, 4), RGB(A), rows top to
    bottom. Grey and palette images come as RGB; alpha is straight, not premultiplied."""
    format: ImageFormat
    icc_profile: bytes | None = None
    """Colour profile that fits the pixels; None when the file had none for RGB."""
    is_grey: bool = False
    """The file is grey; ``encode_image`` can write it so."""
    dpi: tuple[float, float] | None = None
    """Pixels per inch, horizontal and vertical, where the file says so."""


def size_of_file(data: Buffer) -> tuple[int, int]:
    """Return (width, height) from the header of an image file; (0, 0) if it cannot be told."""
    try:
        return _open(data, "image").size
    except InvalidInputError:
        return 0, 0


def header_of_file(data: Buffer, *, name: str = "image") -> tuple[int, int]:
    """Return (width, height) from the header of a file that holds one picture.

    Raises:
        InvalidInputError: why it cannot be read; also of an animation or several pages.
    """
    metadata, size = facts_and_size(data, name)
    check_single(metadata.frames, name)
    return size


def facts_and_size(data: Buffer, name: str) -> tuple[Metadata, tuple[int, int]]:
    """Return what stands beside the pixels of a file, and its (width, height) as it lies.

    Raises:
        InvalidInputError: why it cannot be read.
    """
    file = _open(data, name)
    return file.metadata, file.size


def check_single(frames: int, name: str) -> None:
    """Refuse animations and files of several pages.

    Raises:
        InvalidInputError: there is more than one picture.
    """
    if frames != 1:
        raise InvalidInputError(f"{name}: the file holds {frames} images; send one at a time")


@frozen
class FileFacts:
    """What a result of a picture should keep of its file, beside its profile."""

    is_grey: bool = False
    dpi: tuple[float, float] | None = None


def facts_of_file(data: Buffer) -> FileFacts:
    """Return the facts from the header of an image file; nothing of what cannot be read."""
    try:
        file = _open(data, "image")
    except InvalidInputError:
        return FileFacts()
    metadata = file.metadata
    return FileFacts(file.is_grey, _turned(metadata.dpi, metadata.orientation))


def decode_image(
    data: Buffer, limits: Limits | None = None, *, name: str = "image"
) -> DecodedImage:
    """Decode an image file; ``name`` is what errors call it.

    Raises:
        InvalidInputError: the file is damaged, no image of our formats, animated or too large.
    """
    file = _open(data, name)
    check_pixels(*file.size, limits or Limits(), name)
    check_single(file.metadata.frames, name)
    try:
        return file.decode(name)
    except InvalidInputError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # decoders document no errors; what they raise is the file's fault
        raise InvalidInputError(f"{name}: the file is damaged or cut short") from error


def check_pixels(width: int, height: int, limits: Limits, name: str) -> None:
    """Apply the limits; the refusal names the setting.

    Raises:
        InvalidInputError: a side or the whole is too large.
    """
    if max(width, height) > limits.max_side:
        raise InvalidInputError(
            f"{name}: {width} x {height} pixels; a side may have {limits.max_side} at most"
            " (limits.max_side, on the broker's and the workers' machines)"
        )
    if width * height > limits.max_pixels:
        raise InvalidInputError(
            f"{name}: {width} x {height} is {width * height:,} pixels;"
            f" {limits.max_pixels:,} are allowed"
            " (limits.max_pixels, on the broker's and the workers' machines)"
        )


# ---- reading -----------------------------------------------------------------------------------


@frozen
class _PillowFile:
    """A file that Pillow decodes."""

    kind: ImageFormat
    data: bytes
    """Without its metadata."""
    image: "ImageFile"
    metadata: Metadata

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size

    @property
    def is_grey(self) -> bool:
        return self.image.mode in _GREY_MODES

    def decode(self, name: str) -> DecodedImage:
        image, profile = self.image, self.metadata.icc_profile
        if self.kind == "png" and self.data[24:25] == b"\x10":  # IHDR: bit depth
            pixels, is_grey = _decode_16_bit_png(self.data), self.data[25] in (0, 4)
        else:
            pixels, is_grey = _to_8_bits_rgb(image, profile)
        return _finished(pixels, self.kind, self.metadata, is_grey=is_grey)


@frozen
class _TiffFile:
    """A TIFF file, which is decoded as its layout asks for."""

    tiff: TiffPage

    @property
    def size(self) -> tuple[int, int]:
        return self.tiff.size

    @property
    def is_grey(self) -> bool:
        return self.tiff.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)

    @property
    def metadata(self) -> Metadata:
        return self.tiff.metadata

    def decode(self, name: str) -> DecodedImage:
        check_layout(self.tiff, name)
        profile = self.metadata.icc_profile
        if not self.tiff.is_plain:
            with pillow_tiff(self.tiff) as page:
                pixels, is_grey = _to_8_bits_rgb(page, profile)
        elif self.tiff.photometric in (CMYK, CIELAB):
            image = _in_8_bits(decode_samples(self.tiff), self.tiff.photometric)
            pixels, is_grey = _to_8_bits_rgb(image, profile)
        else:
            pixels = decode_samples(self.tiff)
            is_grey = pixels.shape[2] < 3
        return _finished(pixels, "tiff", self.metadata, is_grey=is_grey)


def _open(data: Buffer, name: str) -> _PillowFile | _TiffFile:
    """Read the header.

    The format's own class is called rather than ``Image.open``: that one would warn about large
    images, by a global limit, before ours is asked.
    """
    kind = format_of(data)
    if not len(data):
        raise InvalidInputError(f"{name}: the file is empty")
    if kind is None:
        raise InvalidInputError(f"{name}: not a PNG, JPEG, WebP, TIFF, GIF, BMP or AVIF file")
    if kind == "tiff":
        return _TiffFile(open_tiff(bytes(data), name))
    plain = {"png": plain_png, "jpeg": plain_jpeg, "webp": plain_webp}.get(kind)
    reader = reader_of(kind, name)
    try:
        if plain is None:
            content, metadata = bytes(data), Metadata()
            image = reader(BytesIO(content))
            metadata = _told_by_pillow(image)
        else:
            file = plain(bytes(data))
            content, metadata = file.data, file.metadata
            image = reader(BytesIO(content))
    except MemoryError:
        raise
    except Exception as error:  # as for decoding
        raise InvalidInputError(f"{name}: the {kind.upper()} file is damaged") from error
    return _PillowFile(kind, content, image, metadata)


_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")
_READERS: dict[ImageFormat, str] = {
    "png": "PIL.PngImagePlugin:PngImageFile",
    "jpeg": "PIL.JpegImagePlugin:JpegImageFile",
    "webp": "PIL.WebPImagePlugin:WebPImageFile",
    "gif": "PIL.GifImagePlugin:GifImageFile",
    "bmp": "PIL.BmpImagePlugin:BmpImageFile",
    "avif": "PIL.AvifImagePlugin:AvifImageFile",
    "heic": "pi_heif.as_plugin:HeifImageFile",
    "jxl": "pillow_jxl.JpegXLImagePlugin:JXLImageFile",
}


def is_readable(kind: ImageFormat) -> bool:
    """Return whether what reads a format is installed; nothing is loaded for that."""
    package = _READERS[kind].partition(":")[0].partition(".")[0]
    return find_spec(package) is not None


def reader_of(kind: ImageFormat, name: str) -> "Callable[[BytesIO], ImageFile]":
    """Return Pillow's class for files of a format.

    Raises:
        InvalidInputError: it needs something that is not installed.
    """
    module, _, class_name = _READERS[kind].partition(":")
    try:
        reader: Callable[[BytesIO], ImageFile] = getattr(import_module(module), class_name)
    except ImportError as error:
        install = f": install {EXTRAS[kind]}" if kind in EXTRAS else ""
        raise InvalidInputError(
            f"{name}: {kind.upper()} files need a library that is not installed here{install}"
        ) from error
    return reader


def _told_by_pillow(image: "ImageFile") -> Metadata:
    """Return the metadata of formats whose containers are not taken apart here."""
    exif, profile = image.info.get("exif"), image.info.get("icc_profile")
    orientation, dpi = 1, None
    if isinstance(exif, bytes):
        orientation, dpi = exif_facts(exif.removeprefix(b"Exif\0\0"))
    return Metadata(
        orientation=orientation,
        icc_profile=profile if isinstance(profile, bytes) else None,
        dpi=dpi,
        frames=int(getattr(image, "n_frames", 1)),
    )


def _to_8_bits_rgb(image: "Image.Image", profile: bytes | None) -> "tuple[Pixels, bool]":
    """Return RGB(A) as it lies, or one or two channels of grey (True)."""
    import numpy as np

    if image.mode == "CMYK":
        return np.asarray(cmyk_to_rgb(image, profile)), False
    if image.mode in ("1", "L", "LA", "La") and not image.has_transparency_data:
        return np.asarray(image.convert("L"))[:, :, None], True
    if image.mode in ("L", "LA", "La"):
        return np.asarray(image.convert("LA")), True
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), False


def _finished(
    pixels: "NDArray[Any]", kind: ImageFormat, metadata: Metadata, *, is_grey: bool
) -> DecodedImage:
    """Give pixels their final form: grey as RGB by its profile, upright."""
    import numpy as np

    if is_grey:
        if (levels := grey_levels(metadata.icc_profile)) is not None:
            most = np.iinfo(pixels.dtype).max
            table = np.rint(levels[:: 65535 // most] * most).astype(pixels.dtype)
            pixels = np.dstack([table[pixels[:, :, 0]], pixels[:, :, 1:]])
        pixels = np.concatenate([np.repeat(pixels[:, :, :1], 3, axis=2), pixels[:, :, 1:]], axis=2)
    return DecodedImage(
        np.ascontiguousarray(turn_upright(pixels, metadata.orientation)),
        kind,
        rgb_profile(metadata.icc_profile),
        is_grey=is_grey,
        dpi=_turned(metadata.dpi, metadata.orientation),
    )


def _decode_16_bit_png(data: bytes) -> "NDArray[Any]":
    """Decode with OpenCV, as PIL would drop the lower eight bits of colours; grey: one channel."""
    import cv2
    import numpy as np

    decoded: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise ValueError("it cannot be decoded")
    is_grey = data[25] in (0, 4)
    if decoded.ndim == 2:
        return decoded[:, :, None]  # type: ignore[no-any-return]  # an array
    order = [0, *range(3, decoded.shape[2])] if is_grey else [2, 1, 0, 3][: decoded.shape[2]]
    return decoded[:, :, order]  # type: ignore[no-any-return]  # an array


def _in_8_bits(pixels: "NDArray[Any]", photometric: int) -> "Image.Image":
    """Return CMYK or CIELAB in 8 bits, as Pillow knows them."""
    import numpy as np
    from PIL import Image

    high = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    size = (pixels.shape[1], pixels.shape[0])
    if photometric == CIELAB:  # a and b are signed in the file; Pillow's reader expects that
        return Image.frombytes("LAB", size, high[:, :, :3].tobytes(), "raw", "LAB")
    return Image.frombytes("CMYK", size, high[:, :, :4].tobytes())


def turn_upright(pixels: "NDArray[Any]", orientation: int) -> "NDArray[Any]":
    """Undo an EXIF orientation, 1 to 8 (CIPA DC-008, table 8)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _turned(dpi: tuple[float, float] | None, orientation: int) -> tuple[float, float] | None:
    return (dpi[1], dpi[0]) if dpi is not None and orientation in (5, 6, 7, 8) else dpi
