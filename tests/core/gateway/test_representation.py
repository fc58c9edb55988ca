"""Formats by Accept, ranges of bytes, and entity tags."""

import pytest

from paintmq.errors import InvalidTaskError
from paintmq.gateway.representation import byte_range, matches, picture_form


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "png"),
        ("*/*", "png"),
        ("text/html, application/json", "png"),
        ("image/webp", "webp"),
        ("image/jpeg;q=0.5, image/webp;q=0.9, */*;q=0.1", "webp"),
        ("image/jpeg, image/webp", "jpeg"),
        ("image/jpeg;q=0, image/webp;q=nonsense", "png"),
        ("IMAGE/TIFF", "tiff"),
        ("image/avif,image/webp,image/png;q=0.8", "webp"),
    ],
)
def test_a_format_is_chosen_by_what_is_accepted(accept: str, expected: str) -> None:
    assert picture_form({}, accept).format == expected


def test_the_query_outweighs_the_header() -> None:
    assert picture_form({"format": "tif"}, "image/webp").media_type == "image/tiff"
    with pytest.raises(InvalidTaskError):
        picture_form({"quality": "\N{FULLWIDTH DIGIT NINE}"}, "")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("bytes=0-", (0, 9)),
        ("bytes=2-4", (2, 4)),
        ("bytes=5-999", (5, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-999", (0, 9)),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_a_range_is_what_it_says_or_all(header: str, expected: object) -> None:
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_beyond_the_end_is_an_error(header: str) -> None:
    with pytest.raises(ValueError, match=r"range|end"):
        byte_range(header, 10)


def test_tags_match_one_by_one() -> None:
    assert matches('W/"a", "b"', '"a"')
    assert matches("*", '"a"')
    assert not matches("", '"a"')
    assert not matches('"ab"', '"a"')
