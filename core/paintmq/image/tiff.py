"""TIFF files of every layout to pixels: what decoders get wrong is told to them more simply.

Pillow knows few layouts with alpha, planes or negatives, and no colours of 16 bits; OpenCV takes
planes, negatives and premultiplied colours of 16 bits for something else. So a file of 8 or 16 bits
is handed to Pillow as grey of one sample, a row as wide as all its samples; prediction, planes,
polarity and alpha are undone here.
"""

import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any

from attrs import frozen

from paintmq.errors import InvalidInputError
from paintmq.image import tiff_directory as tags
from paintmq.image.metadata import Metadata, resolution
from paintmq.image.tiff_directory import Directory, Values, read_directories, with_directory

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK, CIELAB = 0, 1, 2, 5, 8
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, CMYK: 4, CIELAB: 3}
"""Samples of a pixel that are no alpha, by photometric interpretation."""
_BY_SAMPLE = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions that know bytes alone: none, LZW, Deflate, PackBits, Deflate, LZMA, Zstandard."""
_ASSOCIATED, _STRAIGHT = 1, 2
_UNSIGNED = (1, 4)
_REDUCED = 1
"""A bit of NewSubfileType: a smaller version of another page."""
_PREDICTED = 2


@frozen
class TiffPage:
    """The page of a TIFF file that is its picture."""

    data: bytes
    page: Directory
    metadata: Metadata

    @property
    def size(self) -> tuple[int, int]:
        return self.page.get(tags.WIDTH, 0), self.page.get(tags.HEIGHT, 0)

    @property
    def bits(self) -> int:
        return max(self.page.tags.get(tags.BITS, (1,)))

    @property
    def is_plain(self) -> bool:
        """Whether ``decode_samples`` can read it; the others are Pillow's: palettes, JPEG, fax."""
        packed = self.page.get(tags.COMPRESSION, 1)
        return self.bits in (8, 16) and packed in _BY_SAMPLE and self.photometric in COLOURS

    @property
    def photometric(self) -> int:
        return self.page.get(tags.PHOTOMETRIC, BLACK_IS_ZERO)


def open_tiff(data: bytes, name: str) -> TiffPage:
    """Read the directories and choose the picture: the others may only be smaller versions of it.

    Raises:
        InvalidInputError: the file is damaged.
    """
    full = tiff_pages(data, name)
    page = max(full, key=_area)
    rivals = sum(other is not page and 4 * _area(other) > _area(page) for other in full)
    orientation = page.get(tags.ORIENTATION, 1)
    profile = page.raw.get(tags.ICC_PROFILE)
    if profile is None and tags.ICC_PROFILE in page.tags:  # some write it as plain bytes
        profile = bytes(value & 0xFF for value in page.tags[tags.ICC_PROFILE])
    metadata = Metadata(
        orientation=orientation if 1 <= orientation <= 8 else 1,
        icc_profile=profile,
        dpi=resolution(
            page.fraction(tags.X_RESOLUTION),
            page.fraction(tags.Y_RESOLUTION),
            page.get(tags.RESOLUTION_UNIT, 2),
        ),
        frames=1 + rivals,
    )
    return TiffPage(data, page, metadata)


def tiff_pages(data: bytes, name: str) -> list[Directory]:
    """Return the pages that are no smaller versions of others, in order.

    Raises:
        InvalidInputError: the file is damaged.
    """
    pages = _pages(data, name)
    return [page for page in pages if not page.get(tags.SUBFILE, 0) & _REDUCED] or pages


def _pages(data: bytes, name: str) -> list[Directory]:
    try:
        return read_directories(data)
    except (ValueError, KeyError, struct.error) as error:
        raise InvalidInputError(f"{name}: the TIFF file is damaged") from error


def check_layout(tiff: TiffPage, name: str) -> None:
    """Refuse samples that are no levels of 1 to 16 bits.

    Raises:
        InvalidInputError: with what they are and what would do.
    """
    if tiff.page.is_cut:
        raise InvalidInputError(f"{name}: the file is damaged or cut short")
    page, bits = tiff.page, tiff.page.tags.get(tags.BITS, (1,))
    formats = page.tags.get(tags.SAMPLE_FORMAT, (1,))
    if any(each not in _UNSIGNED for each in formats):
        kind = {2: "signed", 3: "floating-point"}.get(max(formats), "complex")
        raise InvalidInputError(
            f"{name}: the TIFF file has {kind} samples ({max(bits)} bits); use unsigned ones of 8"
            " or 16 bits"
        )
    if max(bits) > 16 or len(set(bits)) > 1 or (max(bits) > 8 and max(bits) != 16):
        raise InvalidInputError(
            f"{name}: the TIFF file has {' and '.join(map(str, dict.fromkeys(bits)))} bits a"
            " sample; use 8 or 16"
        )
    if max(bits) == 16 and tiff.photometric not in COLOURS:
        raise InvalidInputError(
            f"{name}: the TIFF file has 16-bit samples of colour space {tiff.photometric};"
            " use RGB or grey"
        )


def pillow_image(tiff: TiffPage, changes: dict[int, Values | None] | None = None) -> "ImageFile":
    """Open the page's pixels with Pillow, and nothing else of the file."""
    from PIL.TiffImagePlugin import TiffImageFile

    return TiffImageFile(BytesIO(with_directory(tiff.data, tiff.page, changes or {})))


def decode_samples(tiff: TiffPage) -> "NDArray[Any]":
    """Return colours and alpha, of shape (H, W, samples), as they lie; alpha is straight.

    Negatives are turned; samples beyond colours and alpha are left out.
    """
    import numpy as np

    page = tiff.page
    colours, count = COLOURS[tiff.photometric], page.get(tags.SAMPLES, 1)
    if count < colours:
        raise ValueError(f"{count} samples for {colours} colours")
    # Without the tag a further sample is alpha, as Pillow has it in 8 bits, and OpenCV writes it.
    extra = page.tags.get(tags.EXTRA_SAMPLES, (_STRAIGHT,))[: count - colours]
    has_alpha = bool(extra) and extra[0] in (_ASSOCIATED, _STRAIGHT)
    wanted = colours + has_alpha
    pixels = _planes(tiff, wanted) if page.get(tags.PLANES, 1) == 2 else _samples(tiff, count)
    pixels = pixels[:, :, :wanted]
    if tiff.photometric == WHITE_IS_ZERO:
        pixels = np.concatenate([~pixels[:, :, :1], pixels[:, :, 1:]], axis=2)
    if has_alpha and extra[0] == _ASSOCIATED:
        pixels = _straightened(pixels)
    return np.ascontiguousarray(pixels)


def _samples(tiff: TiffPage, count: int) -> "NDArray[Any]":
    """Return chunky samples, read as one wide row of grey."""
    width, height = tiff.size
    changes: dict[int, Values | None] = {tags.WIDTH: (width * count,)}
    if (tile := tiff.page.get(tags.TILE_WIDTH, 0)) > 0:
        changes[tags.TILE_WIDTH] = (tile * count,)
    wide = _grey(tiff, changes)
    return _unpredicted(tiff, wide.reshape(height, width, count))


def _planes(tiff: TiffPage, wanted: int) -> "NDArray[Any]":
    """Return samples that lie in planes of their own, one after the other."""
    import numpy as np

    places = tags.TILE_OFFSETS if tags.TILE_OFFSETS in tiff.page.tags else tags.STRIP_OFFSETS
    sizes = tags.TILE_BYTES if places == tags.TILE_OFFSETS else tags.STRIP_BYTES
    offsets, lengths = tiff.page.tags[places], tiff.page.tags[sizes]
    each = len(offsets) // tiff.page.get(tags.SAMPLES, 1)
    planes = [
        _grey(
            tiff,
            {
                places: offsets[number * each : (number + 1) * each],
                sizes: lengths[number * each : (number + 1) * each],
            },
        )
        for number in range(wanted)
    ]
    return _unpredicted(tiff, np.stack(planes, axis=2))


def _grey(tiff: TiffPage, changes: dict[int, Values | None]) -> "NDArray[Any]":
    import numpy as np

    plain: dict[int, Values | None] = {
        tags.BITS: (tiff.bits,),
        tags.SAMPLES: (1,),
        tags.PHOTOMETRIC: (BLACK_IS_ZERO,),
        tags.PLANES: (1,),
        tags.PREDICTOR: None,
        tags.EXTRA_SAMPLES: None,
        tags.SAMPLE_FORMAT: None,
    }
    with pillow_image(tiff, plain | changes) as image:
        return np.asarray(image).astype(np.uint16 if tiff.bits == 16 else np.uint8)


def _unpredicted(tiff: TiffPage, pixels: "NDArray[Any]") -> "NDArray[Any]":
    """Undo horizontal differencing (TIFF 6.0, section 14), which starts anew with each tile."""
    import numpy as np

    if tiff.page.get(tags.PREDICTOR, 1) != _PREDICTED or tiff.page.get(tags.COMPRESSION, 1) == 1:
        return pixels
    width = pixels.shape[1]
    step = tiff.page.get(tags.TILE_WIDTH, 0) or width
    for start in range(0, width, step):
        part = pixels[:, start : start + step]
        np.cumsum(part, axis=1, dtype=part.dtype, out=part)
    return pixels


def _straightened(pixels: "NDArray[Any]") -> "NDArray[Any]":
    """Divide colours by the alpha that they were multiplied by."""
    import numpy as np

    most = float(np.iinfo(pixels.dtype).max)
    alpha, colours = pixels[:, :, -1:].astype(np.float32), pixels[:, :, :-1].astype(np.float32)
    straight = np.divide(colours * most, alpha, out=np.zeros_like(colours), where=alpha > 0)
    straight = np.minimum(straight + 0.5, most).astype(pixels.dtype)
    return np.concatenate([straight, pixels[:, :, -1:]], axis=2)


def _area(page: Directory) -> int:
    return page.get(tags.WIDTH, 0) * page.get(tags.HEIGHT, 0)
