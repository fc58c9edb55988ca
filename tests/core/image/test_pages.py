"""One page of a file that holds several is what viewers show as that page."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paintmq.config import Limits
from paintmq.errors import InvalidInputError
from paintmq.image.files import decode_image
from paintmq.image.pages import page_of_file

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))


def animation(kind: str, **more: Any) -> bytes:
    """Return a file of three pictures, each of one colour."""
    first, *others = [Image.new("RGB", (8, 6), colour) for colour in COLOURS]
    file = BytesIO()
    first.save(file, kind, save_all=True, append_images=others, **more)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_page_can_be_had(kind: str, number: int) -> None:
    more = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    file = page_of_file(animation(kind, **more), number)

    pixels = decode_image(file).pixels
    assert np.abs(pixels[:, :, :3].astype(int) - COLOURS[number - 1]).max() < 8


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_page_of_a_tiff_keeps_its_depth_and_its_tags(is_big: bool, order: Any) -> None:
    tifffile = pytest.importorskip("tifffile")
    file = BytesIO()
    pages = [np.full((6, 8, 3), level, np.uint16) for level in (1, 258, 60_000)]
    with tifffile.TiffWriter(file, bigtiff=is_big, byteorder=order) as writer:
        for number, page in enumerate(pages):
            writer.write(
                page, photometric="rgb", resolution=(100 + number, 50), resolutionunit="INCH"
            )

    for number, page in enumerate(pages, 1):
        decoded = decode_image(page_of_file(file.getvalue(), number))
        assert np.array_equal(decoded.pixels, page)
        assert decoded.dpi == (99 + number, 50)


def test_smaller_versions_of_a_tiffs_picture_are_no_pages() -> None:
    tifffile = pytest.importorskip("tifffile")
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.full((64, 64), 9, np.uint8), photometric="minisblack")
        writer.write(np.full((8, 8), 9, np.uint8), photometric="minisblack", subfiletype=1)
        writer.write(np.full((64, 32), 7, np.uint8), photometric="minisblack")

    assert decode_image(page_of_file(file.getvalue(), 2)).pixels.shape == (64, 32, 3)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
@pytest.mark.parametrize("number", [0, 4])
def test_a_page_that_is_not_there_is_refused_with_how_many_there_are(
    kind: str, number: int
) -> None:
    with pytest.raises(InvalidInputError, match=f"no page {number}: the file holds 3 pages"):
        page_of_file(animation(kind), number)


def test_a_file_of_one_page_is_its_first_page() -> None:
    file = BytesIO()
    Image.new("L", (8, 6)).save(file, "JPEG")

    assert page_of_file(file.getvalue(), 1) == file.getvalue()
    with pytest.raises(InvalidInputError, match="no page 2: the file holds one page"):
        page_of_file(file.getvalue(), 2)


def test_damage_and_size_are_told_before_anything_is_decoded() -> None:
    with pytest.raises(InvalidInputError, match=r"limits\.max_pixels"):
        page_of_file(animation("GIF"), 2, Limits(max_pixels=40))
    whole = animation("PNG")
    at = whole.rindex(b"fdAT") + 8
    with pytest.raises(InvalidInputError, match="image: page 3 is damaged or cut short"):
        page_of_file(whole[:at] + b"\xff" * 9 + whole[at + 9 :], 3)
