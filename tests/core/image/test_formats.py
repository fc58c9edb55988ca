"""Formats that are only read, and TIFF files with pages or rare colours."""

import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from paintmq.errors import InvalidInputError
from paintmq.image import decode_image, format_of, size_of_file
from paintmq.image.tiff_directory import read_directories, with_directory

COLOUR = np.random.default_rng(7).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# ---- formats that are only read ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "BMP", "AVIF"])
def test_other_formats_of_pillow_are_read(kind: str) -> None:
    image = Image.new("RGB", (7, 4), (200, 100, 50))

    decoded = decode_image(saved(image, kind))

    assert decoded.format == kind.lower()
    assert decoded.pixels.shape == (4, 7, 3)
    assert np.abs(decoded.pixels.astype(int) - (200, 100, 50)).max() <= 3
    assert size_of_file(saved(image, kind)) == (7, 4)


def test_jpeg_xl_is_read_where_its_library_is_installed() -> None:
    pytest.importorskip("pillow_jxl")
    data = saved(Image.fromarray(COLOUR), "JXL", lossless=True)

    decoded = decode_image(data)

    assert decoded.format == "jxl"
    assert np.array_equal(decoded.pixels, COLOUR)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0miafavif", "avif"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", None),
        (b"\xff\x0a\0\0", "jxl"),
        (b"II+\0\x08\0\0\0", "tiff"),
        (b"BM\0\0\0\0\0\0\0\0", "bmp"),
        (b"BMW is no picture", None),
    ],
)
def test_formats_are_told_by_their_first_bytes(head: bytes, kind: str | None) -> None:
    assert format_of(head) == kind


@pytest.mark.parametrize(("kind", "module"), [("heic", "pi_heif"), ("jxl", "pillow_jxl")])
def test_a_format_without_its_library_names_what_to_install(
    kind: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = {"heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "jxl": b"\xff\x0a\0\0"}
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(InvalidInputError, match=rf"install paintmq\[{kind}\]"):
        decode_image(heads[kind])


# ---- pages -------------------------------------------------------------------------------------


def pages(*sides: int, reduced: bool = False) -> bytes:
    """Return a TIFF file of grey pages of these sides, in levels 10, 20 ..."""
    images = [Image.new("L", (side, side), 10 * place) for place, side in enumerate(sides, 1)]
    stream = BytesIO()
    more = images[1:]
    for image in more:
        image.encoderinfo = {"tiffinfo": {254: 1}} if reduced else {}
    images[0].save(stream, "TIFF", save_all=True, append_images=more)
    data: bytes = stream.getvalue()
    return data


@pytest.mark.parametrize(("sides", "level"), [((8, 4), 10), ((4, 8), 20), ((9, 3, 2), 10)])
def test_pages_that_are_small_beside_another_are_passed_over(
    sides: tuple[int, ...], level: int
) -> None:
    decoded = decode_image(pages(*sides))

    assert decoded.pixels.shape[:2] == (max(sides), max(sides))
    assert set(decoded.pixels.flat) == {level}


def test_pages_alike_are_refused_with_their_number() -> None:
    with pytest.raises(InvalidInputError, match="the file holds 3 images; send one at a time"):
        decode_image(pages(8, 8, 7, 2))


@pytest.mark.parametrize("order", ["II", "MM"])
def test_a_directory_that_is_a_circle_or_lies_outside_is_refused_or_ends(order: str) -> None:
    data = bytearray(pages(4))
    at = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[at : at + 2], "little")
    data[at + 2 + 12 * count : at + 6 + 12 * count] = at.to_bytes(4, "little")

    assert decode_image(bytes(data)).pixels.shape == (4, 4, 3)
    with pytest.raises(InvalidInputError, match="damaged"):
        decode_image(f"{order}".encode() + (b"*\0" if order == "II" else b"\0*") + b"\xff" * 4)


@pytest.mark.parametrize("mode", ["LAB", "CMYK"])
def test_deep_tiff_files_of_other_colour_spaces_are_read(mode: str) -> None:
    """They come in 8 bits, as their conversion to RGB does."""
    image = Image.new(mode, (5, 3), (180, 140, 120, 30)[: len(mode)])
    shallow = saved(image, "TIFF")
    samples = np.asarray(image)
    page = read_directories(shallow)[0]
    deep = (samples.astype(np.uint16) << 8).tobytes()  # a and b are signed, as they are in 8 bits
    start = len(shallow)
    data = with_directory(
        shallow + deep,
        page,
        {258: (16,) * len(mode), 273: (start,), 279: (len(deep),), 278: (3,)},
    )

    expected = decode_image(shallow).pixels
    assert np.abs(decode_image(data).pixels.astype(int) - expected).max() <= 1
