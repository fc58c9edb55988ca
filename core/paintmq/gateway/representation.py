"""In which form a picture is answered with: format, quality, and which part of its bytes."""

import re
from collections.abc import Mapping

from attrs import frozen

from paintmq.errors import InvalidTaskError

MEDIA_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "tiff": "image/tiff",
}
"""By format; the first is what is sent where nothing else is asked for."""
_ALIASES = {"jpg": "jpeg", "tif": "tiff"}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@frozen
class PictureForm:
    """How a picture is encoded."""

    format: str = "png"
    quality: int = 95
    """1 to 100, for JPEG and WebP."""

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]


def picture_form(query: Mapping[str, str], accept: str) -> PictureForm:
    """Return the form that ``format`` and ``quality`` ask for, or else the Accept header.

    A header that names none of our formats is taken to accept PNG.

    Raises:
        InvalidTaskError: there is no such format or quality.
    """
    named = query.get("format", "").lower()
    named = _ALIASES.get(named, named)
    if named and named not in MEDIA_TYPES:
        raise InvalidTaskError(
            f"format {query['format'][:40]!r}: use one of {', '.join(MEDIA_TYPES)}"
        )
    quality = query.get("quality", "95")
    if not (quality.isascii() and quality.isdecimal() and 1 <= int(quality[:4]) <= 100):
        raise InvalidTaskError(f"quality {quality[:40]!r} is no whole number from 1 to 100")
    return PictureForm(named or _accepted(accept), int(quality))


def _accepted(accept: str) -> str:
    """Return the format with the highest weight; of equal ones, the first that is named."""
    best, weight = "png", 0.0
    for each in accept.split(",")[:32]:
        kind, *parameters = (part.strip().lower() for part in each.split(";"))
        wanted = next((name for name, media in MEDIA_TYPES.items() if media == kind), None)
        if wanted is not None and _weight(parameters) > weight:
            best, weight = wanted, _weight(parameters)
    return best


def _weight(parameters: list[str]) -> float:
    for each in parameters:
        if each.startswith("q="):
            try:
                return min(max(float(each[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return (first, last) of the one range a Range header asks for; None: all.

    Several ranges, and what is no range of bytes, are answered with all, as RFC 9110 allows.

    Raises:
        ValueError: it lies beyond the end.
    """
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        length = int(found[2])
        if not length:
            raise ValueError("an empty range")
        return max(0, size - length), size - 1
    first = int(found[1])
    last = min(int(found[2]), size - 1) if found[2] else size - 1
    if first >= size:
        raise ValueError("beyond the end")
    return None if last < first else (first, last)


def matches(header: str, etag: str) -> bool:
    """Return whether an If-None-Match header names the entity tag."""
    tags = {each.strip().removeprefix("W/") for each in header.split(",")}
    return "*" in tags or etag in tags
