"""Decoded pictures are counted before they are decoded, for as long as they live."""

import gc

import numpy as np
import pytest

from paintmq.gateway.apis import decoding
from paintmq.gateway.apis.decoding import DecodedBytes, decoding_for
from paintmq.gateway.apis.pictures import MaskMeaning, mask_of, pixels_of
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.image import encode_image

PICTURE = encode_image(np.zeros((100, 50, 3), np.uint8))
DEEP = encode_image(np.zeros((100, 50, 3), np.uint16))


@pytest.fixture(autouse=True)
def decoded(monkeypatch: pytest.MonkeyPatch) -> DecodedBytes:
    gc.collect()  # what earlier tests left counts there until it is gone
    counted = DecodedBytes(most=100_000)
    monkeypatch.setattr(decoding, "DECODED", counted)
    return counted


def test_a_picture_counts_as_long_as_an_array_of_it_lives(decoded: DecodedBytes) -> None:
    pixels = pixels_of(PICTURE, "image")
    row = pixels[3]
    assert decoded.held == pixels.nbytes == 15_000

    del pixels
    assert decoded.held == 15_000
    del row

    assert decoded.held == 0


@pytest.mark.parametrize(("data", "expected"), [(PICTURE, 20_000), (DEEP, 40_000), (b"", 0)])
def test_what_a_picture_takes_up_is_read_from_its_header(data: bytes, expected: int) -> None:
    with decoding.room_for(data) as counted:
        assert counted.size == expected


def test_what_is_no_picture_leaves_nothing_behind(decoded: DecodedBytes) -> None:
    for data in (PICTURE[:60], b"nothing"):
        with pytest.raises(Exception, match="image"):
            pixels_of(data, "image")

    assert decoded.held == 0


def test_a_caller_is_refused_before_a_picture_is_decoded_that_there_is_no_room_for(
    decoded: DecodedBytes,
) -> None:
    """Point 7: 40 megapixels in 16 bits are 300 kB of PNG, and a quarter of a gigabyte."""
    with decoding_for("greedy"):
        held = [pixels_of(DEEP, "image") for _ in range(3)]
        with pytest.raises(RefusedRequestError, match="too many large pictures") as refused:
            pixels_of(DEEP, "image")
    assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "1")

    held.pop()
    with decoding_for("greedy"):
        held.append(pixels_of(DEEP, "image"))


def test_while_others_are_there_a_caller_has_at_most_half(decoded: DecodedBytes) -> None:
    with decoding_for("greedy"):
        held = [pixels_of(PICTURE, "image") for _ in range(3)]
    with decoding_for("modest"):
        held.append(mask_of(PICTURE, MaskMeaning.IOPAINT))
        held += [pixels_of(PICTURE, "image") for _ in range(2)]
    with decoding_for("greedy"), pytest.raises(RefusedRequestError):
        pixels_of(PICTURE, "image")
