"""Grey with a profile of its own becomes the sRGB that the profile means."""

import io
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from paintmq.image import decode_image, encode_image
from paintmq.image.colours import grey_levels, rgb_profile

RAMP: NDArray[np.uint8] = np.arange(256, dtype=np.uint8).reshape(16, 16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def grey_profile(curve: bytes) -> bytes:
    """Return a profile for grey with this tone curve, and the white point D50."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    name = b"desc\0\0\0\0\0\0\0\2x\0" + bytes(78)
    tags = {b"wtpt": white, b"kTRC": curve, b"desc": name, b"cprt": b"text\0\0\0\0x\0"}
    table, body, place = b"", b"", 132 + 12 * len(tags)
    for tag, value in tags.items():
        value += bytes(-len(value) % 4)
        table += tag + struct.pack(">II", place + len(body), len(value))
        body += value
    size = place + len(body)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def curv(*points: int) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(f">I{len(points)}H", len(points), *points)


def para(kind: int, *numbers: float) -> bytes:
    fixed = [round(number * 65536) for number in numbers]
    return b"para\0\0\0\0" + struct.pack(f">HH{len(fixed)}i", kind, 0, *fixed)


CURVES = {
    "linear": curv(),
    "gamma 1.8": curv(round(1.8 * 256)),
    "gamma 2.2": curv(round(2.2 * 256)),
    "a table": curv(0, 5_000, 20_000, 65_535),
    "parametric 0": para(0, 2.4),
    "parametric 3, sRGB": para(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    "parametric 1": para(1, 2.0, 0.9, 0.1),
    "parametric 2": para(2, 2.0, 0.8, 0.1, 0.05),
    "parametric 4": para(4, 2.4, 0.9, 0.1, 0.5, 0.05, 0.0, 0.01),
}


@pytest.mark.parametrize("name", CURVES)
def test_grey_is_what_a_colour_manager_makes_of_it(name: str) -> None:
    profile = grey_profile(CURVES[name])
    expected = ImageCms.profileToProfile(
        Image.fromarray(RAMP),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert expected is not None

    decoded = decode_image(encode_image(RAMP, "png", icc_profile=profile))

    difference = np.abs(np.asarray(expected).astype(int) - decoded.pixels)
    # Little CMS makes white white, and rounds off jumps: curves like "parametric 4" have one.
    assert np.percentile(difference, 90) <= 1
    assert decoded.is_grey
    assert decoded.icc_profile is None


def test_deep_grey_keeps_its_depth() -> None:
    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    profile = grey_profile(CURVES["linear"])

    eight = decode_image(encode_image(RAMP, "png", icc_profile=profile)).pixels
    sixteen = decode_image(encode_image(deep, "png", icc_profile=profile)).pixels

    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257.0 - eight).max() <= 0.5


@pytest.mark.parametrize(
    "profile",
    [
        None,
        b"",
        SRGB,
        grey_profile(b"curv"),
        grey_profile(b"junk" * 5),
        grey_profile(para(9, 1.0)),
        grey_profile(para(1, 2.0, 0.0, 0.1)),
        grey_profile(curv(1, 2, 3))[:200],
        bytes(16) + b"GRAY" + bytes(120),
        bytes(16) + b"GRAY" + b"\xff" * 120,
    ],
)
def test_a_profile_that_says_nothing_of_grey_leaves_it_as_it_is(profile: bytes | None) -> None:
    assert grey_levels(profile) is None


def test_only_a_profile_for_rgb_goes_with_rgb() -> None:
    assert rgb_profile(SRGB) == SRGB
    assert rgb_profile(grey_profile(curv())) is None
    assert rgb_profile(b"junk") is None
    assert rgb_profile(None) is None


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp"])
def test_grey_can_be_written_as_grey(kind: str) -> None:
    """WebP knows colours alone."""
    decoded = decode_image(encode_image(RAMP, "png"))
    data = encode_image(decoded.pixels, kind, grey=decoded.is_grey, icc_profile=SRGB)

    image = Image.open(io.BytesIO(data))
    assert image.mode == ("RGB" if kind == "webp" else "L")
    assert np.abs(decode_image(data).pixels.astype(int) - decoded.pixels).max() <= 3


def test_grey_with_alpha_and_deep_grey_stay_so_and_colours_stay_colours() -> None:
    alpha = np.dstack([RAMP, RAMP, RAMP, RAMP[::-1]])
    deep = np.repeat((RAMP.astype(np.uint16) * 257)[:, :, None], 3, axis=2)
    colours = np.dstack([RAMP, RAMP, RAMP[::-1]])

    assert Image.open(io.BytesIO(encode_image(alpha, "png", grey=True))).mode == "LA"
    assert encode_image(deep, "png", grey=True)[24:26] == bytes([16, 0])
    assert Image.open(io.BytesIO(encode_image(colours, "png", grey=True))).mode == "RGB"
    assert np.array_equal(decode_image(encode_image(alpha, "png", grey=True)).pixels, alpha)
    assert np.array_equal(decode_image(encode_image(deep, "tiff", grey=True)).pixels, deep)
    white = decode_image(encode_image(alpha, "jpeg", grey=True))
    assert white.is_grey
