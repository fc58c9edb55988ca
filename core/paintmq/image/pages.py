"""One page of a file that holds several pictures, as a file of its own.

Of a TIFF every tag of the page stays as it is; a picture of an animation becomes a PNG file, as
viewers show it: with what earlier ones left.
"""

from io import BytesIO

from paintmq.config import Limits
from paintmq.errors import InvalidInputError
from paintmq.image.encoding import encode_image
from paintmq.image.files import check_pixels, facts_and_size, reader_of, turn_upright
from paintmq.image.formats import format_of
from paintmq.image.tiff import tiff_pages
from paintmq.image.tiff_directory import with_page


def page_of_file(
    data: bytes, number: int, limits: Limits | None = None, *, name: str = "image"
) -> bytes:
    """Return an image file with this page alone, counted from 1; one of one page as it is.

    Raises:
        InvalidInputError: there is no such page, or the file is damaged or too large.
    """
    metadata, size = facts_and_size(data, name)
    if format_of(data) == "tiff":
        pages = tiff_pages(data, name)
        _check_number(number, len(pages), name)
        return with_page(data, pages[number - 1]) if len(pages) > 1 else data
    _check_number(number, metadata.frames, name)
    if metadata.frames == 1:
        return data
    check_pixels(*size, limits or Limits(), name)
    kind = format_of(data)
    assert kind is not None
    import numpy as np

    try:
        with reader_of(kind, name)(BytesIO(data)) as image:
            image.seek(number - 1)
            shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except MemoryError:
        raise
    except Exception as error:  # decoders document no errors; what they raise is the file's fault
        raise InvalidInputError(f"{name}: page {number} is damaged or cut short") from error
    pixels = np.ascontiguousarray(turn_upright(np.asarray(shown), metadata.orientation))
    return encode_image(pixels, "png", icc_profile=metadata.icc_profile)


def _check_number(number: int, count: int, name: str) -> None:
    if not 1 <= number <= count:
        holds = "one page" if count == 1 else f"{count} pages"
        raise InvalidInputError(f"{name}: there is no page {number}: the file holds {holds}")
