"""Small picture files for tests of what people have in their folders."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paintmq.image.files import FORMATS_BY_SUFFIX, encode_image


def picture(path: Path, width: int = 8, height: int = 6, *, grey: int = 90) -> Path:
    """Write a picture of one grey in the format of its ending, PNG if that names none."""
    return _written(path, np.full(width, grey), height)


def _written(path: Path, row: "NDArray[Any]", height: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    pixels = np.broadcast_to(row.astype(np.uint8)[None, :, None], (height, len(row), 3)).copy()
    path.write_bytes(encode_image(pixels, suffix if suffix in FORMATS_BY_SUFFIX else ".png"))
    return path


def mask(path: Path, width: int = 8, height: int = 6) -> Path:
    """Write a mask that fills the left half, as a PNG or in the format of its ending."""
    return _written(path, np.where(np.arange(width) < (width + 1) // 2, 255, 0), height)


def promise_of_pixels(path: Path, width: int, height: int) -> Path:
    """Write a PNG of a few bytes whose header promises many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        crc = zlib.crc32(kind + body)
        chunks += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def names_in(folder: Path) -> Sequence[str]:
    """Return the files below the folder, as they are named from there."""
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
