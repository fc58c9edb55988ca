"""What stands in an image file beside its pixels: read here, leniently, and kept from the decoders.

Damaged, hostile or merely large metadata (EXIF, XMP, texts, profiles, resolutions) says nothing
about the pixels. So a file is taken apart by its containers, the few facts that matter are read by
functions that cannot fail, and a decoder gets the file without the rest.

Rule: nothing here raises for what a file holds. What cannot be read does not count.
"""

import struct
import zlib
from collections.abc import Iterator

from attrs import frozen

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
MOST_PROFILE_BYTES = 16 * 1024 * 1024
"""Of a colour profile, unpacked; the largest in use have about two million."""
_ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
_METRES_PER_INCH = 0.0254
_CM_PER_INCH = 2.54
_LEAST_DPI, _MOST_DPI = 1.0, 100_000.0


@frozen(kw_only=True)
class Metadata:
    """The facts that matter."""

    orientation: int = 1
    """1 to 8, by EXIF (CIPA DC-008, table 8)."""
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    """Pixels per inch, horizontal and vertical."""
    frames: int = 1
    """Pictures of an animation, as far as the container says."""


@frozen
class PlainFile:
    """An image file without its metadata, and what that said."""

    data: bytes
    metadata: Metadata


# ---- PNG ---------------------------------------------------------------------------------------


def plain_png(data: bytes) -> PlainFile:
    """Take a PNG file apart (ISO 15948)."""
    kept = [data[: len(PNG_SIGNATURE)]]
    orientation, profile, frames = 1, None, 1
    dpi: tuple[float, float] | None = None
    for kind, start, body, end in _png_chunks(data):
        if kind in _PNG_KEPT or len(kind) < 4:
            kept.append(data[start:end])
        elif kind == b"iCCP":
            profile = _png_profile(body)
        elif kind == b"eXIf":
            orientation = exif_facts(body)[0]
        elif kind == b"pHYs" and len(body) == 9 and body[8] == 1:
            dpi = _dpi(*(each * _METRES_PER_INCH for each in struct.unpack(">II", body[:8])))
        elif kind == b"acTL" and len(body) == 8:
            frames = int.from_bytes(body[:4], "big")
    metadata = Metadata(orientation=orientation, icc_profile=profile, dpi=dpi, frames=frames)
    return PlainFile(b"".join(kept), metadata)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, bytes, int]]:
    """Iterate over type, start, body and end of each chunk; the last may be cut short."""
    place = len(PNG_SIGNATURE)
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 12 + length
        body = b"" if kind in _PNG_KEPT else data[place + 8 : end - 4]
        yield kind, place, body, end
        if kind == b"IEND":
            return
        place = end


def _png_profile(body: bytes) -> bytes | None:
    packed = body.partition(b"\0")[2][1:]
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(packed, MOST_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


# ---- JPEG --------------------------------------------------------------------------------------

_JPEG_EXIF, _JPEG_ICC = b"Exif\0\0", b"ICC_PROFILE\0"
_START_OF_SCAN = 0xDA


def plain_jpeg(data: bytes) -> PlainFile:
    """Take a JPEG file apart (ITU T.81, annex B): up to the first scan, where segments end.

    Kept are tables and frames, JFIF and Adobe, which say how colours are coded.
    """
    kept = [data[:2]]
    orientation = 1
    dpi: tuple[float, float] | None = None
    exif_dpi: tuple[float, float] | None = None
    parts: dict[int, bytes] = {}
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != _START_OF_SCAN:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : end]
        if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
            kept.append(data[place:end])
            dpi = _jfif_dpi(body)
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            kept.append(data[place:end])
        elif marker == 0xE1 and body.startswith(_JPEG_EXIF):
            orientation, exif_dpi = exif_facts(body[len(_JPEG_EXIF) :])
        elif marker == 0xE2 and body.startswith(_JPEG_ICC) and len(body) > len(_JPEG_ICC) + 2:
            parts.setdefault(body[len(_JPEG_ICC)], body[len(_JPEG_ICC) + 2 :])
        elif not 0xE0 <= marker <= 0xEF and marker != 0xFE:
            kept.append(data[place:end])
        place = max(end, place + 4)
    profile = b"".join(parts[number] for number in sorted(parts)) or None
    metadata = Metadata(orientation=orientation, icc_profile=profile, dpi=dpi or exif_dpi)
    return PlainFile(b"".join([*kept, data[place:]]), metadata)


def _jfif_dpi(body: bytes) -> tuple[float, float] | None:
    unit, horizontal, vertical = struct.unpack(">BHH", body[7:12])
    factor = {1: 1.0, 2: _CM_PER_INCH}.get(unit)
    return _dpi(horizontal * factor, vertical * factor) if factor else None


# ---- WebP --------------------------------------------------------------------------------------

_WEBP_DROPPED = (b"EXIF", b"XMP ", b"ICCP")
_WEBP_FLAGS = 0b0010_1100
"""Of the header, those that announce a profile, EXIF and XMP."""


def plain_webp(data: bytes) -> PlainFile:
    """Take a WebP file apart (RFC 9649)."""
    kept: list[bytes] = []
    orientation, frames = 1, 0
    dpi: tuple[float, float] | None = None
    profile: bytes | None = None
    place = 12
    while place + 8 <= len(data):
        kind, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        end = place + 8 + size + size % 2
        body = data[place + 8 : place + 8 + size]
        if kind == b"EXIF":
            orientation, dpi = exif_facts(body.removeprefix(_JPEG_EXIF))
        elif kind == b"ICCP":
            profile = body
        elif kind == b"VP8X" and size >= 10:
            flags = bytes([body[0] & ~_WEBP_FLAGS & 0xFF])
            kept.append(data[place : place + 8] + flags + data[place + 9 : end])
        elif kind not in _WEBP_DROPPED:
            kept.append(data[place:end])
            frames += kind == b"ANMF"
        place = end
    body = b"".join(kept)
    head = b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP"
    metadata = Metadata(
        orientation=orientation, icc_profile=profile, dpi=dpi, frames=max(1, frames)
    )
    return PlainFile(head + body, metadata)


# ---- EXIF --------------------------------------------------------------------------------------


def exif_facts(exif: bytes) -> tuple[int, tuple[float, float] | None]:
    """Return the orientation, 1 if it cannot be told, and the resolution of an EXIF block."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 14:
        return 1, None
    (at,) = struct.unpack_from(f"{order}I", exif, 4)
    if at + 2 > len(exif):
        return 1, None
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    orientation, unit = 1, 2
    sides: dict[int, float] = {}
    for number in range(min(count, (len(exif) - at - 2) // 12)):
        entry = exif[at + 2 + number * 12 :][:12]
        tag, kind, items = struct.unpack_from(f"{order}HHI", entry)
        short = struct.unpack_from(f"{order}H", entry, 8)[0]
        if items == 1 and kind == 3 and tag == _ORIENTATION and 1 <= short <= 8:
            orientation = short
        elif items == 1 and kind == 3 and tag == _RESOLUTION_UNIT:
            unit = short
        elif items == 1 and kind == 5 and tag in (_X_RESOLUTION, _Y_RESOLUTION):
            place = struct.unpack_from(f"{order}I", entry, 8)[0]
            if place + 8 <= len(exif):
                above, below = struct.unpack_from(f"{order}II", exif, place)
                sides[tag] = above / below if below else 0.0
    return orientation, resolution(sides.get(_X_RESOLUTION), sides.get(_Y_RESOLUTION), unit)


def resolution(
    horizontal: float | None, vertical: float | None, unit: int
) -> tuple[float, float] | None:
    """Return a resolution as TIFF and EXIF tell it; unit 2: a inch, 3: a centimetre."""
    factor = {2: 1.0, 3: _CM_PER_INCH}.get(unit)
    if factor is None or horizontal is None or vertical is None:
        return None
    return _dpi(horizontal * factor, vertical * factor)


def _dpi(horizontal: float, vertical: float) -> tuple[float, float] | None:
    sides = round(horizontal, 2), round(vertical, 2)
    return sides if all(_LEAST_DPI <= side <= _MOST_DPI for side in sides) else None
