"""The directory of a TIFF file: read without a decoder, and written anew with what one needs.

TIFF 6.0, section 2, and BigTIFF. A decoder is handed a file whose only directory holds the layout
of the pixels: so no other tag, page or sub-directory can trouble it, and the layout can be told in
a way that it understands.

Rule: a damaged file raises ``ValueError`` or ``struct.error``, never anything else.
"""

import struct
from typing import TypeAlias

from attrs import define, field

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 274, 277, 278, 279
X_RESOLUTION, Y_RESOLUTION, PLANES, RESOLUTION_UNIT, PREDICTOR = 282, 283, 284, 296, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
SUBFILE, EXTRA_SAMPLES, SAMPLE_FORMAT, ICC_PROFILE = 254, 338, 339, 34675

LAYOUT = frozenset(
    {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP}
    | {STRIP_BYTES, PLANES, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES}
    | {EXTRA_SAMPLES, SAMPLE_FORMAT}
    # fill order, fax options, colours of a palette, ink set, JPEG tables, YCbCr
    | {266, 292, 293, 320, 332, 347, 529, 530, 531, 532}
)
"""Tags that say how pixels are stored."""
MOST_TAGS = 1_000
MOST_VALUES = 4_000_000
MOST_PAGES = 10_000

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
Values: TypeAlias = tuple[int, ...]


@define
class Directory:
    """One page: its tags with whole numbers, and where the others lie."""

    order: str
    """``<`` or ``>``."""
    tags: dict[int, Values] = field(factory=dict[int, Values])
    raw: dict[int, bytes] = field(factory=dict[int, bytes])
    """Values of the tags that hold bytes or fractions."""
    is_cut: bool = False
    """Part of the layout lies outside of the file."""
    place: int = 0
    """Where in the file it begins."""
    link: int = 0
    """Where in the file the place of the next one stands."""

    def get(self, tag: int, default: int) -> int:
        values = self.tags.get(tag)
        return values[0] if values else default

    def fraction(self, tag: int) -> float | None:
        """Return a RATIONAL, None if there is none that makes a number."""
        raw = self.raw.get(tag, b"")
        if len(raw) != 8:
            return None
        above, below = struct.unpack(f"{self.order}II", raw)
        return above / below if below else None


def read_directories(data: bytes) -> list[Directory]:
    """Return the pages of a TIFF or BigTIFF file, in order.

    Raises:
        ValueError, struct.error: the file is damaged.
    """
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    is_big = data[2:4] in (b"+\0", b"\0+")
    place = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", data, 8 if is_big else 4)[0]
    seen: dict[int, None] = {}
    pages: list[Directory] = []
    while place and place not in seen and len(pages) < MOST_PAGES:
        seen[place] = None
        page, place = _read_directory(data, place, order, is_big=is_big)
        pages.append(page)
    if not pages:
        raise ValueError("it has no directory")
    return pages


def _read_directory(data: bytes, place: int, order: str, *, is_big: bool) -> tuple[Directory, int]:
    head, entry, link = ("Q", "HHQ", "Q") if is_big else ("H", "HHI", "I")
    inline = 8 if is_big else 4
    (count,) = struct.unpack_from(order + head, data, place)
    if count > MOST_TAGS:
        raise ValueError(f"a directory of {count} tags")
    step = struct.calcsize(order + entry) + inline
    first = place + struct.calcsize(order + head)
    page = Directory(order, place=place, link=first + count * step)
    for number in range(count):
        at = first + number * step
        tag, kind, items = struct.unpack_from(order + entry, data, at)
        size = _SIZES.get(kind, 0) * items
        if not size or items > MOST_VALUES:
            continue
        start = at + step - inline
        if size > inline:
            (start,) = struct.unpack_from(order + link, data, start)
        body = data[start : start + size]
        if len(body) < size:
            page.is_cut = page.is_cut or tag in LAYOUT
            continue
        if kind in _CODES:
            page.tags[tag] = struct.unpack(f"{order}{items}{_CODES[kind]}", body)
        else:
            page.raw[tag] = body
    (following,) = struct.unpack_from(order + link, data, page.link)
    return page, following


def with_page(data: bytes, page: Directory) -> bytes:
    """Return the file with one of its pages alone: nothing but the links to pages is changed."""
    is_big = data[2:4] in (b"+\0", b"\0+")
    link, first = (f"{page.order}Q", 8) if is_big else (f"{page.order}I", 4)
    changed = bytearray(data)
    struct.pack_into(link, changed, first, page.place)
    struct.pack_into(link, changed, page.link, 0)
    return bytes(changed)


def with_directory(data: bytes, page: Directory, changes: dict[int, Values | None]) -> bytes:
    """Return a classic TIFF file with the same pixels and this page's layout alone, changed.

    Changes of None leave a tag out. Values are whole numbers; JPEG tables, which are bytes, stay.

    Raises:
        ValueError, struct.error: an offset does not fit, as in a file of more than 4 GiB.
    """
    order = page.order
    wanted: dict[int, Values | None] = {tag: page.tags.get(tag) for tag in LAYOUT} | changes
    entries: list[tuple[int, int, int, bytes]] = [
        (tag, 4, len(values), struct.pack(f"{order}{len(values)}I", *values))
        if max(values) > 0xFFFF
        else (tag, 3, len(values), struct.pack(f"{order}{len(values)}H", *values))
        for tag, values in wanted.items()
        if values
    ]
    entries += [(tag, 7, len(body), body) for tag, body in page.raw.items() if tag == 347]
    start = len(data) + len(data) % 2  # "must begin on a word boundary"
    behind = start + 2 + 12 * len(entries) + 4
    directory, values_behind = [struct.pack(f"{order}H", len(entries))], b""
    for tag, kind, count, body in sorted(entries):  # "sorted in ascending order by Tag"
        if len(body) <= 4:
            place = body.ljust(4, b"\0")
        else:
            place = struct.pack(f"{order}I", behind + len(values_behind))
            values_behind += body + bytes(len(body) % 2)
        directory.append(struct.pack(f"{order}HHI", tag, kind, count) + place)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    # BigTIFF has 16 bytes of header, of which these 8 become the header of a classic file.
    head = mark + struct.pack(f"{order}I", start)
    return b"".join([head, data[8:], bytes(len(data) % 2), *directory, bytes(4), values_behind])
