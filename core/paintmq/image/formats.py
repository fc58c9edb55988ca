"""The image formats that are read and written, each told by its first bytes."""

from typing import Literal, TypeAlias

from paintmq.task import Buffer

ImageFormat: TypeAlias = Literal["png", "jpeg", "webp", "tiff", "gif", "bmp", "avif", "heic", "jxl"]

FORMATS_BY_SUFFIX: dict[str, ImageFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".jif": "jpeg",
    ".jfi": "jpeg",
    ".pjpeg": "jpeg",
    ".pjp": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""File name endings, lower case, of the formats that are read and written."""

READ_ONLY_BY_SUFFIX: dict[str, ImageFormat] = {
    ".gif": "gif",
    ".bmp": "bmp",
    ".dib": "bmp",
    ".avif": "avif",
    ".heic": "heic",
    ".heif": "heic",
    ".hif": "heic",
    ".jxl": "jxl",
}
"""Endings of the formats that are only read."""

EXTRAS: dict[ImageFormat, str] = {"heic": "paintmq[heic]", "jxl": "paintmq[jxl]"}
"""Formats that need a library of their own, and what to install for it."""

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_FIRST = frozenset({b"\x89", b"\xff", b"R", b"I", b"M", b"G", b"B", b"\0"})
"""First bytes of every format but those whose name comes at the fifth."""


def format_of(data: Buffer) -> ImageFormat | None:
    """Return which of our formats the first bytes announce, or None."""
    head = bytes(data[:64])
    if head[:1] not in _FIRST and head[4:8] != b"ftyp":
        return None
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "bmp"
    if head[:2] == b"\xff\x0a" or head.startswith(_JXL_CONTAINER):
        return "jxl"
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, 64, 4))]
        if b"avif" in brands or b"avis" in brands:
            return "avif"
        return "heic" if any(brand in _HEIC_BRANDS for brand in brands) else None
    return None
