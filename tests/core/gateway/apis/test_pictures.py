"""Pictures and masks as clients send them."""

import base64

import numpy as np
import pytest

from paintmq.gateway.apis.faults import ApiError
from paintmq.gateway.apis.pictures import (
    BRUSH,
    MaskMeaning,
    brush_mask,
    bytes_of,
    format_to_answer,
    mask_of,
    mask_of_pixels,
    pixels_of,
    png_text,
    resized,
)
from paintmq.image import encode_image


def one(*colour: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Return one pixel beside one that is transparent black, or black."""
    return np.array([[colour, (0,) * len(colour)]], np.uint8)


@pytest.mark.parametrize(
    ("meaning", "colour", "marked"),
    [
        (MaskMeaning.IOPAINT, BRUSH, True),
        (MaskMeaning.IOPAINT, (255, 255, 255, 1), True),
        (MaskMeaning.IOPAINT, (127, 127, 127, 255), False),
        (MaskMeaning.IOPAINT, (0, 255, 0), True),
        (MaskMeaning.IOPAINT, (255, 0, 0), False),
        (MaskMeaning.AUTOMATIC1111, (0, 0, 0, 129), True),
        (MaskMeaning.AUTOMATIC1111, (255, 255, 255, 128), False),
        (MaskMeaning.AUTOMATIC1111, (200, 200, 200), True),
        (MaskMeaning.OPENAI, (255, 255, 255, 1), False),
        (MaskMeaning.OPENAI, (255, 255, 255), False),
    ],
)
def test_a_mask_means_what_its_client_means(
    meaning: MaskMeaning, colour: tuple[int, ...], marked: bool
) -> None:
    mask = mask_of_pixels(one(*colour), meaning)

    assert (mask[0, 0] == 255) == marked
    assert mask[0, 1] == (255 if meaning is MaskMeaning.OPENAI and len(colour) == 4 else 0)


def test_an_opaque_mask_with_an_alpha_channel_counts_by_its_colour_for_automatic1111() -> None:
    mask = mask_of_pixels(
        np.array([[(255, 255, 255, 255), (0, 0, 0, 255)]], np.uint8), MaskMeaning.AUTOMATIC1111
    )

    assert mask.tolist() == [[255, 0]]


def test_a_mask_of_16_bits_is_understood() -> None:
    deep = np.array([[(65535, 65535, 65535), (0, 0, 0)]], np.uint16)

    assert mask_of(encode_image(deep), MaskMeaning.IOPAINT).tolist() == [[255, 0]]


def test_the_brush_mask_shows_what_is_marked_and_means_the_same_when_it_comes_back() -> None:
    marked = np.array([[1, 0, 1]], bool)

    data = brush_mask(marked)

    assert tuple(pixels_of(data, "mask")[0, 0]) == BRUSH
    assert pixels_of(data, "mask")[0, 1].tolist() == [0, 0, 0, 0]
    assert (mask_of(data, MaskMeaning.IOPAINT) == 255).tolist() == marked.tolist()


def test_base64_comes_bare_or_as_a_data_address_and_lines_may_be_broken() -> None:
    text = base64.b64encode(b"picture" * 20).decode()

    assert bytes_of(text, "image") == b"picture" * 20
    assert bytes_of(f"data:image/whatever;base64,{text[:40]}\n{text[40:]}", "image") == (
        b"picture" * 20
    )


@pytest.mark.parametrize("text", [None, 5, "", "%%%", "data:image/png,xx", "abc", "\u00e9"])
def test_what_is_no_base64_is_refused_by_name(text: object) -> None:
    with pytest.raises(ApiError, match="mask") as error:
        bytes_of(text, "mask")
    assert (error.value.status, error.value.param) == (400, "mask")


def test_answers_have_the_format_of_the_bytes_and_png_for_what_is_only_read() -> None:
    picture = one(1, 2, 3)

    assert format_to_answer(encode_image(picture, "webp")) == "webp"
    assert format_to_answer(encode_image(picture, "jpeg")) == "jpeg"
    assert format_to_answer(encode_image(picture, "tiff")) == "png"
    assert format_to_answer(b"nothing") == "png"


def test_a_picture_is_brought_to_exactly_the_size() -> None:
    picture = np.zeros((7, 11, 3), np.uint8)

    assert resized(picture, 22, 15).shape == (15, 22, 3)
    assert resized(picture, 5, 3).shape == (3, 5, 3)
    assert resized(picture, 11, 7) is picture


def test_what_stands_beside_broken_pixels_is_empty_and_no_error() -> None:
    assert png_text(b"\x89PNG\r\n\x1a\n broken", "parameters") == ""
    assert png_text(b"nothing", "parameters") == ""
