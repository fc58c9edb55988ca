"""Image files: what decodes to what, and what is refused in words."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from paintmq.config import Limits
from paintmq.errors import InvalidInputError
from paintmq.image import decode_image, encode_image, format_of, size_of_file, to_8_bits

RNG = np.random.default_rng(7)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_of(rows: NDArray[np.uint16], colour_type: int, extra: bytes = b"") -> bytes:
    """Return a 16-bit PNG written by hand, as PIL writes only grey ones."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = rows.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
        + extra
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def exif_chunk(orientation: int) -> bytes:
    body = b"eXIf" + b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def tiff_of(pixels: NDArray[np.uint16], orientation: int) -> bytes:
    """Return an uncompressed 16-bit TIFF with an orientation, written by hand."""
    height, width, channels = pixels.shape
    count = 11
    bits_at = 8 + 2 + count * 12 + 4
    raw = pixels.astype("<u2").tobytes()
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, bits_at + 8), (274, 3, 1, orientation), (277, 3, 1, channels),
        (278, 3, 1, height), (279, 4, 1, len(raw)), (284, 3, 1, 1),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    bits = struct.pack("<HHHH", 16, 16, 16, 0)
    return b"II*\0" + struct.pack("<IH", 8, count) + directory + bytes(4) + bits + raw


def upright(pixels: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Turn by PIL's own rules, channel by channel, as an independent answer."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    if turn is None:
        return pixels
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(pixels[:, :, c])).transpose(turn))
        for c in range(pixels.shape[2])
    ]
    return np.stack(channels, axis=2)


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("pixels", [COLOUR, to_8_bits(DEEP), DEEP, DEEP[:, :, :3]])
def test_lossless_formats_give_back_every_pixel(kind: str, pixels: NDArray[np.uint8]) -> None:
    decoded = decode_image(encode_image(pixels, kind))

    assert decoded.pixels.dtype == pixels.dtype
    assert np.array_equal(decoded.pixels, pixels)
    assert decoded.format == kind


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_lossy_formats_give_back_nearly_the_picture(kind: str) -> None:
    smooth = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)

    decoded = decode_image(encode_image(smooth, kind))

    assert decoded.pixels.shape == smooth.shape
    assert np.abs(decoded.pixels.astype(int) - smooth).mean() < 4


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (2, 1), 1), [255, 255, 255]),
        (Image.new("L", (2, 1), 9), [9, 9, 9]),
        (Image.new("LA", (2, 1), (9, 8)), [9, 9, 9, 8]),
        (Image.new("RGBA", (2, 1), (1, 2, 3, 4)), [1, 2, 3, 4]),
        (Image.new("RGB", (2, 1), (1, 2, 3)).quantize(), [1, 2, 3]),
        (Image.fromarray(np.full((1, 2), 1000, np.uint16)), [1000, 1000, 1000]),
    ],
)
def test_every_colour_mode_becomes_rgb_or_rgba(image: Image.Image, expected: list[int]) -> None:
    assert decode_image(saved(image, "PNG")).pixels[0, 1].tolist() == expected


def test_a_palette_with_a_transparent_entry_becomes_rgba() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([5, 6, 7, 8, 9, 10])

    decoded = decode_image(saved(image, "PNG", transparency=0))

    assert decoded.pixels[0, 0].tolist() == [5, 6, 7, 0]


def test_16_bit_grey_with_alpha_keeps_both() -> None:
    pixels = DEEP[:, :, :2]

    decoded = decode_image(png_of(pixels, colour_type=4)).pixels

    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, pixels[:, :, [0, 0, 0, 1]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_in_8_bits(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(COLOUR), "PNG", exif=exif)

    assert np.array_equal(decode_image(data).pixels, upright(COLOUR, orientation))  # type: ignore[arg-type]  # either depth


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_in_16_bits(orientation: int) -> None:
    deep = DEEP[:, :, :3]
    expected = upright(deep, orientation)

    png = decode_image(png_of(deep, colour_type=2, extra=exif_chunk(orientation)))
    tiff = decode_image(tiff_of(deep, orientation))

    assert np.array_equal(png.pixels, expected)
    assert np.array_equal(tiff.pixels, expected)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_an_rgb_colour_profile_survives(kind: str) -> None:
    assert decode_image(encode_image(COLOUR, kind, icc_profile=SRGB)).icc_profile == SRGB


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("profile", [SRGB, SRGB + b"!"], ids=["even", "odd"])
def test_a_colour_profile_survives_in_16_bits(kind: str, profile: bytes) -> None:
    data = encode_image(DEEP, kind, icc_profile=profile)

    decoded = decode_image(data)

    assert decoded.icc_profile == profile
    assert np.array_equal(decoded.pixels, DEEP)


def test_a_profile_for_other_colours_than_rgb_is_dropped() -> None:
    grey_profile = SRGB[:16] + b"GRAY" + SRGB[20:]
    data = saved(Image.new("L", (3, 2), 7), "PNG", icc_profile=grey_profile)

    assert decode_image(data).icc_profile is None


def test_cmyk_becomes_rgb() -> None:
    data = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG")

    red, green, blue = decode_image(data).pixels[4, 4].tolist()

    assert red < 40
    assert green > 150
    assert blue > 150


def test_jpeg_shows_transparent_pictures_on_white() -> None:
    clear = np.zeros((8, 8, 4), np.uint8)

    decoded = decode_image(encode_image(clear, "jpg"))

    assert decoded.pixels.min() == 255


def test_to_8_bits_rounds_to_the_nearest_level() -> None:
    deep = np.array([[0, 128, 129, 257, 65535 - 128, 65535]], np.uint16)

    assert to_8_bits(deep).tolist() == [[0, 0, 1, 1, 255, 255]]


def test_size_is_read_from_a_header_without_the_rest() -> None:
    data = encode_image(np.zeros((300, 200, 3), np.uint8), "png")

    assert size_of_file(data[:60]) == (200, 300)
    assert size_of_file(b"no image") == (0, 0)
    assert format_of(b"%PDF-1.7") is None


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_side=99), "a side may have 99"),
        (Limits(max_pixels=9_999), "9,999 are allowed"),
    ],
)
def test_limits_are_checked_before_decoding(limits: Limits, words: str) -> None:
    # Only the header is there: had anything been decoded, the error would be another.
    header = encode_image(np.zeros((100, 100, 3), np.uint8), "png")[:60]

    with pytest.raises(InvalidInputError, match=words):
        decode_image(header, limits)


def test_a_header_that_claims_more_than_any_memory_is_refused() -> None:
    data = bytearray(encode_image(COLOUR, "png"))
    data[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))

    with pytest.raises(InvalidInputError, match="2147483647 x 2147483647"):
        decode_image(bytes(data))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_animations_are_refused(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green")]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])

    with pytest.raises(InvalidInputError, match="holds 2 images"):
        decode_image(data)


def test_other_formats_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="mask: not a PNG, JPEG, WebP, TIFF, GIF, BMP"):
        decode_image(saved(Image.new("RGB", (4, 4)), "PPM"), name="mask")


def test_more_than_16_bits_are_refused() -> None:
    data = saved(Image.new("F", (4, 4), 0.5), "TIFF")

    with pytest.raises(InvalidInputError, match=r"floating-point samples \(32 bits\)"):
        decode_image(data)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_a_file_cut_short_is_refused_in_words(kind: str) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode_image(noise, kind)

    with pytest.raises(InvalidInputError, match="damaged"):
        decode_image(data[: len(data) // 2])


@pytest.mark.filterwarnings("ignore")  # libraries warn about what we then refuse
@given(
    data=st.binary(max_size=400),
    start=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"II*\0"]
    ),
)
def test_rubbish_is_only_ever_refused_as_invalid_input(data: bytes, start: bytes) -> None:
    with pytest.raises(InvalidInputError):
        decode_image(start + data)


@pytest.mark.filterwarnings("ignore")
@given(
    pixels=st.sampled_from([COLOUR, DEEP]),
    kind=st.sampled_from(["png", "jpeg", "webp", "tiff"]),
    place=st.integers(0, 10_000),
    value=st.integers(0, 255),
)
def test_a_damaged_file_decodes_or_is_refused(
    pixels: NDArray[np.uint8], kind: str, place: int, value: int
) -> None:
    data = bytearray(encode_image(pixels, kind, icc_profile=SRGB[:200]))
    data[place % len(data)] = value

    try:
        decoded = decode_image(bytes(data))
    except InvalidInputError:
        return
    assert decoded.pixels.shape[2] in (3, 4)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)]
)
def test_what_is_no_image_is_not_written(array: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidInputError, match="must be uint8 or uint16"):
        encode_image(array)


def test_an_unknown_format_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidInputError, match="jpeg"):
        encode_image(COLOUR, "bmp")
