"""Running a network that enlarges pictures tile by tile, so that memory stays bounded."""

from collections.abc import Iterator

from attrs import frozen


@frozen
class Span:
    """One tile along one side: what is seen, and which part of that is kept."""

    seen_from: int
    seen_to: int
    kept_from: int
    kept_to: int


@frozen
class Tile:
    """A rectangle of a picture, and the larger one around it that the network sees."""

    rows: Span
    columns: Span


def tiles_of(height: int, width: int, side: int, overlap: int) -> list[Tile]:
    """Return tiles that cover the picture once, row by row.

    Args:
        height: Of the picture.
        width: Of the picture.
        side: Of a tile at most; 0 makes one tile of the whole.
        overlap: Pixels around a tile that the network sees too, where there are any.
    """
    return [
        Tile(rows, columns)
        for rows in _spans(height, side, overlap)
        for columns in _spans(width, side, overlap)
    ]


def _spans(length: int, side: int, overlap: int) -> Iterator[Span]:
    step = side or length
    for start in range(0, length, step):
        end = min(start + step, length)
        yield Span(max(start - overlap, 0), min(end + overlap, length), start, end)
