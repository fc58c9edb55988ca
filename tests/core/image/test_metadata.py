"""What stands beside good pixels never makes them unreadable, nor changes them."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from paintmq.errors import InvalidInputError
from paintmq.image import decode_image, encode_image
from paintmq.image.files import size_of_file
from paintmq.image.metadata import exif_facts, plain_jpeg, plain_png, plain_webp

RNG = np.random.default_rng(3)
PIXELS: NDArray[np.uint8] = RNG.integers(0, 256, (6, 9, 3)).astype(np.uint8)
PNG = encode_image(PIXELS, "png")
PNG_16 = encode_image(PIXELS.astype(np.uint16) * 257, "png")
JPEG = encode_image(PIXELS, "jpeg")


def webp() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "WEBP", lossless=True, exif=b"Exif\0\0")
    return stream.getvalue()


WEBP = webp()


def chunk(kind: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    right = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum or right)


def in_png(*chunks: bytes, data: bytes = PNG, behind_pixels: bool = False) -> bytes:
    place = data.rindex(b"IEND") - 4 if behind_pixels else 33
    return data[:place] + b"".join(chunks) + data[place:]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def in_jpeg(*segments: bytes) -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def in_webp(kind: bytes, body: bytes) -> bytes:
    """Return the picture as an extended file with one more chunk behind its pixels."""
    flags = {b"EXIF": 8, b"XMP ": 4, b"ICCP": 32}.get(kind, 0)
    sides = (9 - 1).to_bytes(3, "little") + (6 - 1).to_bytes(3, "little")
    head = b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + sides
    more = kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    pixels = plain_webp(WEBP).data
    pixels = pixels[pixels.index(b"VP8L") :]
    content = b"WEBP" + head + (more + pixels if kind == b"ICCP" else pixels + more)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def in_tiff(pixels: NDArray[np.uint8], *entries: tuple[int, int, int, bytes]) -> bytes:
    """Return an uncompressed TIFF file with these entries as well: tag, type, count, value."""
    height, width = pixels.shape[:2]
    short, long = 3, 4
    table = [
        (256, long, 1, struct.pack("<I", width)),
        (257, long, 1, struct.pack("<I", height)),
        (258, short, 1, struct.pack("<HH", 8, 0)),
        (259, short, 1, struct.pack("<HH", 1, 0)),
        (262, short, 1, struct.pack("<HH", 2, 0)),
        (273, long, 1, struct.pack("<I", 8)),
        (277, short, 1, struct.pack("<HH", 3, 0)),
        (278, long, 1, struct.pack("<I", height)),
        (279, long, 1, struct.pack("<I", pixels.nbytes)),
        *entries,
    ]
    start = 8 + pixels.nbytes
    directory = struct.pack("<H", len(table))
    for tag, kind, count, value in sorted(table):
        if tag == 258:
            kind, count, value = 3, 3, struct.pack("<I", start + 2 + 12 * len(table) + 4)
        directory += struct.pack("<HHI", tag, kind, count) + value[:4].ljust(4, b"\0")
    bits = struct.pack("<HHH", 8, 8, 8)
    return b"II*\0" + struct.pack("<I", start) + pixels.tobytes() + directory + bytes(4) + bits


LONG_TEXT = b"parameters\0\0" + zlib.compress(b"x" * 3_000_000)
BOMB = b"profile\0\0" + zlib.compress(bytes(64 * 1024 * 1024))
BESIDE_PNG = {
    "a long packed text": chunk(b"zTXt", LONG_TEXT),
    "a long international text": chunk(b"iTXt", b"k\0\1\0\0\0" + LONG_TEXT[12:]),
    "a text of 70 MB": chunk(b"tEXt", b"k\0" + b"x" * 70_000_000),
    "a profile of 1.5 MB": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1_500_000))),
    "a profile that is a bomb": chunk(b"iCCP", BOMB),
    "a profile of an unknown method": chunk(b"iCCP", b"p\0\7junk"),
    "a profile cut": chunk(b"iCCP", b"p\0\0" + zlib.compress(b"x" * 999)[:20]),
    "a wrong checksum": chunk(b"tEXt", b"k\0v", checksum=7),
    "a short resolution": chunk(b"pHYs", b"12"),
    "a wrong checksum of a resolution": chunk(b"pHYs", bytes(9), checksum=7),
    "a short gamma": chunk(b"gAMA", b"1"),
    "a gamma of nothing": chunk(b"gAMA", bytes(4)),
    "short chromaticities": chunk(b"cHRM", b"123"),
    "a short rendering intent": chunk(b"sRGB", b""),
    "a packed text of an unknown method": chunk(b"zTXt", b"k\0\\9junk"),
    "EXIF of junk": chunk(b"eXIf", b"junk" * 9),
    "an unknown chunk": chunk(b"quUx", b"1234"),
    "a background": chunk(b"bKGD", b"12"),
    "a time": chunk(b"tIME", b""),
    "a histogram": chunk(b"hIST", b"1"),
}
EXIF = b"Exif\0\0"
BESIDE_JPEG = {
    "EXIF of junk": segment(0xE1, EXIF + b"garbage"),
    "EXIF that points outside": segment(
        0xE1, EXIF + b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\0\0\xff\xff\xff\x7f\0\0\0\0"
    ),
    "EXIF that is a circle": segment(0xE1, EXIF + b"MM\0*\0\0\0\x08\0\0\0\0\0\x08"),
    "XMP of junk": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"),
    "a part of a profile": segment(0xE2, b"ICC_PROFILE\0\x07\x02junk"),
    "a profile without parts": segment(0xE2, b"ICC_PROFILE\0"),
    "several pictures of junk": segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "Photoshop's of junk": segment(0xED, b"Photoshop 3.0\x008BIM\xff"),
    "a comment": segment(0xFE, b"\xff\x00" * 100),
    "a second JFIF, of junk": segment(0xE0, b"JFIF\0\1"),
    "Adobe's, short": segment(0xEE, b"Adobe"),
}
BESIDE_WEBP = {
    "EXIF of junk": (b"EXIF", b"junk"),
    "XMP of junk": (b"XMP ", b"\xff\xfe<"),
    "a profile of junk": (b"ICCP", b"junk"),
    "an unknown chunk": (b"JUNK", b"1"),
}
BESIDE_TIFF = {
    "a text that lies outside": (270, 2, 2**31, b"\xff\xff\xff\x7f"),
    "a date that is no text": (306, 12, 1, b"\xff\xff\xff\x7f"),
    "an unknown type": (305, 99, 7, b"1234"),
    "EXIF that lies outside": (34665, 4, 1, b"\xff\xff\xff\x7f"),
    "EXIF that is this directory": (34665, 4, 1, struct.pack("<I", 8 + PIXELS.nbytes)),
    "a profile that lies outside": (34675, 7, 4_000, b"\xff\xff\xff\x7f"),
    "a resolution by zero": (282, 5, 1, struct.pack("<I", 8)),
    "XMP of junk": (700, 1, 4, b"junk"),
    "an orientation of 99": (274, 3, 1, b"\x63\0\0\0"),
    "Photoshop's of junk": (34377, 1, 4, b"junk"),
}


def files() -> dict[str, tuple[bytes, NDArray[np.uint8]]]:
    """Return every file, and the pixels that it holds."""
    of_jpeg = np.asarray(Image.open(io.BytesIO(JPEG)))
    found = {f"PNG, {name}": (in_png(part), PIXELS) for name, part in BESIDE_PNG.items()}
    found |= {
        f"PNG, behind its pixels {name}": (in_png(part, behind_pixels=True), PIXELS)
        for name, part in BESIDE_PNG.items()
    }
    found |= {f"JPEG, {name}": (in_jpeg(part), of_jpeg) for name, part in BESIDE_JPEG.items()}
    found |= {f"WebP, {name}": (in_webp(*part), PIXELS) for name, part in BESIDE_WEBP.items()}
    found |= {
        f"TIFF, {name}": (in_tiff(PIXELS, part), PIXELS) for name, part in BESIDE_TIFF.items()
    }
    found["PNG, everything"] = (in_png(*BESIDE_PNG.values()), PIXELS)
    found["JPEG, everything"] = (in_jpeg(*BESIDE_JPEG.values()), of_jpeg)
    found["TIFF, everything"] = (in_tiff(PIXELS, *BESIDE_TIFF.values()), PIXELS)
    found["PNG, bytes behind its end"] = (PNG + b"junk" * 9, PIXELS)
    return found


FILES = files()


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_read_whatever_stands_beside_them(name: str) -> None:
    data, pixels = FILES[name]

    decoded = decode_image(data)

    assert np.array_equal(decoded.pixels, pixels)
    assert size_of_file(data) == (9, 6)


@pytest.mark.parametrize("name", BESIDE_PNG)
def test_deep_pixels_are_read_whatever_stands_beside_them(name: str) -> None:
    decoded = decode_image(in_png(BESIDE_PNG[name], data=PNG_16))

    assert np.array_equal(decoded.pixels, PIXELS.astype(np.uint16) * 257)


def exif(orientation: int, *, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


PUT: dict[str, Callable[[bytes], bytes]] = {
    "PNG": lambda body: in_png(chunk(b"eXIf", body)),
    "JPEG": lambda body: in_jpeg(segment(0xE1, EXIF + body)),
    "WebP": lambda body: in_webp(b"EXIF", body),
    "WebP as JPEG": lambda body: in_webp(b"EXIF", EXIF + body),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(12))
@pytest.mark.parametrize("where", PUT)
def test_orientation_is_undone_wherever_it_stands(where: str, orientation: int, order: str) -> None:
    data = PUT[where](exif(orientation, order=order))
    straight = decode_image(PUT[where](b"")).pixels

    upright = decode_image(data).pixels

    turns = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }
    assert np.array_equal(upright, turns.get(orientation, lambda a: a)(straight))


@given(st.binary(max_size=60).map(lambda tail: b"II*\0" + tail) | st.binary(max_size=60))
@example(b"II*\0" + struct.pack("<IHHHI", 8, 1, 0x011A, 5, 1) + b"\xff" * 4)
def test_exif_of_any_bytes_gives_an_orientation(body: bytes) -> None:
    orientation, dpi = exif_facts(body)

    assert 1 <= orientation <= 8
    assert dpi is None or all(1 <= side <= 100_000 for side in dpi)


# ---- the fuzzer --------------------------------------------------------------------------------


@st.composite
def disturbed(draw: st.DrawFn, data: bytes, least: int) -> bytes:
    """Draw a file with bytes changed, cut out and put in from a place on."""
    spoilt = bytearray(data)
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(least, max(least, len(spoilt) - 1)))
        length = draw(st.integers(0, 12))
        spoilt[place : place + length] = draw(st.binary(max_size=12))
    return bytes(spoilt)


RICH_PNG = in_png(
    *(
        BESIDE_PNG[name]
        for name in BESIDE_PNG
        if "70 MB" not in name and len(BESIDE_PNG[name]) < 5_000
    )
)
RICH = {
    "png": RICH_PNG,
    "png 16": in_png(chunk(b"eXIf", exif(6)), data=PNG_16),
    "jpeg": in_jpeg(*BESIDE_JPEG.values()),
    "webp": in_webp(b"EXIF", exif(3)),
    "tiff": in_tiff(PIXELS, *BESIDE_TIFF.values()),
    "tiff 16": encode_image(PIXELS.astype(np.uint16) * 257, "tiff"),
}


@pytest.mark.parametrize("kind", RICH)
@given(data=st.data())
def test_a_disturbed_file_is_decoded_or_refused_and_never_anything_else(
    kind: str, data: st.DataObject
) -> None:
    spoilt = data.draw(disturbed(RICH[kind], 4))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            decoded = decode_image(spoilt)
        except InvalidInputError as error:
            assert str(error).startswith("image: ")  # noqa: PT017 -- either may happen
        else:
            assert decoded.pixels.dtype in (np.uint8, np.uint16)
            assert decoded.pixels.ndim == 3
            assert decoded.pixels.shape[2] in (3, 4)


@given(st.data())
def test_metadata_of_any_bytes_leaves_the_pixels_as_they_are(data: st.DataObject) -> None:
    body = data.draw(st.binary(max_size=200))
    kind = data.draw(st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"pHYs"]))
    marker = data.draw(st.sampled_from([0xE1, 0xE2, 0xE3, 0xED, 0xEF, 0xFE]))
    tag = data.draw(st.sampled_from([270, 274, 282, 296, 305, 700, 33723, 34377, 34665, 34675]))
    size, count = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 2**32 - 1))

    (png, jpeg, tiff) = (
        decode_image(in_png(chunk(kind, body))),
        decode_image(in_jpeg(segment(marker, body))),
        decode_image(in_tiff(PIXELS, (tag, size, count, body[:4]))),
    )

    for decoded in (png, tiff):
        assert sorted(decoded.pixels.flat) == sorted(PIXELS.flat), "turned at most"
    assert sorted(jpeg.pixels.shape) == sorted(PIXELS.shape)


# ---- what is kept ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "depth"), [("png", 8), ("png", 16), ("jpeg", 8), ("jpeg", 16), ("tiff", 8)]
)
def test_a_resolution_is_read_and_can_be_written(kind: str, depth: int) -> None:
    pixels = PIXELS if depth == 8 else PIXELS.astype(np.uint16) * 257
    data = encode_image(pixels, kind, dpi=(300.0, 150.0))

    assert decode_image(data).dpi == pytest.approx((300.0, 150.0), abs=0.01)
    assert decode_image(encode_image(pixels, kind)).dpi is None


def test_a_resolution_is_turned_with_the_picture() -> None:
    inches = chunk(b"pHYs", struct.pack(">IIB", 11811, 5906, 1))

    assert decode_image(in_png(inches, chunk(b"eXIf", exif(6)))).dpi == (150.01, 300.0)


def test_the_parts_of_a_profile_are_put_together_in_order() -> None:
    profile = bytes(16) + b"RGB " + bytes(range(200))
    parts = [
        segment(0xE2, b"ICC_PROFILE\0\x02\x02" + profile[100:]),
        segment(0xE2, b"ICC_PROFILE\0\x01\x02" + profile[:100]),
    ]

    assert plain_jpeg(in_jpeg(*parts)).metadata.icc_profile == profile


def test_a_png_keeps_its_transparent_colour_and_its_palette() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    stream = io.BytesIO()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "x" * 3_000_000, zip=True)
    image.save(stream, "PNG", transparency=1, pnginfo=texts)

    decoded = decode_image(stream.getvalue())

    assert decoded.pixels.tolist() == [[[255, 0, 0, 255], [0, 255, 0, 0]]]
    assert b"zTXt" not in plain_png(stream.getvalue()).data
