"""Thousands of generated files, read as tifffile and libvips read them.

They are written by those libraries, too, in all the layouts they know. Needs ``tifffile`` and
``pyvips`` (with its binaries), which the package itself does not.
"""

import io
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq.errors import InvalidInputError
from paintmq.image import decode_image

pytestmark = pytest.mark.reference

tifffile = pytest.importorskip("tifffile")
pyvips = pytest.importorskip("pyvips")

RNG = np.random.default_rng(11)
SIZES = [(1, 1), (5, 17), (37, 33)]
COLOURS = {"minisblack": 1, "miniswhite": 1, "rgb": 3}
EXTRA = {"none": 0, "unspecified": 1, "assocalpha": 1, "unassalpha": 1}
TIFF_MATRIX = list(
    product(
        ["u1", "u2"],
        COLOURS,
        EXTRA,
        ["contig", "separate"],
        [None, "zlib"],
        [False, True],
        [None, (16, 16)],
        "<>",
        [False, True],
        [1, 6],
        SIZES,
    )
)


def tiff_case(case: Any) -> tuple[bytes, NDArray[Any], dict[str, Any]] | None:
    """Return a file and its samples, (H, W, S); None for what is no layout."""
    dtype, photometric, extra, planes, packed, predicted, tile, order, big, turned, size = case
    samples = COLOURS[photometric] + EXTRA[extra]
    if (samples == 1 and planes == "separate") or (predicted and packed is None):
        return None
    pixels = RNG.integers(0, np.iinfo(dtype).max + 1, (*size, samples)).astype(dtype)
    if extra == "assocalpha":  # no colour is larger than its alpha
        alpha = pixels[:, :, -1:]
        colours = pixels[:, :, :-1]
        pixels[:, :, :-1] = np.minimum(colours, alpha)
    stream = io.BytesIO()
    data = pixels[:, :, 0] if samples == 1 else pixels
    tifffile.imwrite(
        stream,
        data.transpose(2, 0, 1) if planes == "separate" else data,
        photometric=photometric,
        planarconfig=planes if samples > 1 else None,
        extrasamples=None if extra == "none" else [extra],
        compression=packed,
        predictor=predicted or None,
        tile=tile,
        rowsperstrip=None if tile else 7,
        byteorder=order,
        bigtiff=big,
        extratags=[(274, 3, 1, turned, True)],
        metadata=None,
    )
    return stream.getvalue(), pixels, {"photometric": photometric, "extra": extra, "turned": turned}


def meant(pixels: NDArray[Any], photometric: str, extra: str, turned: int) -> NDArray[Any]:
    """Return what a viewer shows: RGB(A), straight alpha, upright."""
    most = np.iinfo(pixels.dtype).max
    colours = pixels[:, :, : COLOURS[photometric]].astype(np.float64)
    if photometric == "miniswhite":
        colours = most - colours
    alpha = pixels[:, :, COLOURS[photometric] :] if "alpha" in extra else pixels[:, :, :0]
    if extra == "assocalpha":
        share = alpha / most
        colours = np.divide(colours, share, out=np.zeros_like(colours), where=share > 0)
    if colours.shape[2] == 1:
        colours = np.repeat(colours, 3, axis=2)
    shown = np.concatenate([np.clip(colours, 0, most), alpha], axis=2)
    return np.rot90(shown, -1) if turned == 6 else shown


def test_the_matrix_is_large() -> None:
    assert sum(tiff_case(case) is not None for case in TIFF_MATRIX) > 2_500


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("photometric", COLOURS)
@pytest.mark.parametrize("extra", EXTRA)
def test_tiff_files_of_every_layout_are_read_as_they_are_meant(
    dtype: str, photometric: str, extra: str
) -> None:
    checked = 0
    for case in TIFF_MATRIX:
        if case[:3] != (dtype, photometric, extra) or (made := tiff_case(case)) is None:
            continue
        data, pixels, how = made
        read = tifffile.imread(io.BytesIO(data))
        again = read.transpose(1, 2, 0) if case[3] == "separate" else read.reshape(pixels.shape)
        assert np.array_equal(again, pixels), "the reference reads what was written"

        try:
            decoded = decode_image(data)
        except InvalidInputError as error:
            raise AssertionError(f"{case}: {error}") from error

        expected = meant(pixels, **how)
        assert decoded.pixels.dtype == pixels.dtype, case
        assert decoded.pixels.shape == expected.shape, case
        visible = expected[:, :, 3:] > 0 if "alpha" in extra else np.ones(1, bool)
        difference = np.where(visible, np.abs(decoded.pixels - expected), 0)
        loss = 0.5 if extra != "assocalpha" else 1.0
        assert difference.max() <= loss, case
        assert decoded.is_grey == (photometric != "rgb"), case
        checked += 1

    assert checked > 50


def vips(pixels: NDArray[Any], interpretation: str) -> Any:
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
    return image.copy(interpretation=interpretation)


def shown_by_vips(data: bytes) -> NDArray[Any]:
    """Return what libvips decodes, turned upright, in sRGB."""
    image = pyvips.Image.new_from_buffer(data, "").autorot()
    deep = image.format == "ushort"
    image = image.colourspace("rgb16" if deep else "srgb")
    found: NDArray[Any] = image.numpy()
    return found.astype(np.uint16 if deep else np.uint8)


def vips_tiffs() -> Iterator[tuple[str, bytes]]:
    for dtype, bands, packing, predictor, tiled, pyramid in product(
        [np.uint8, np.uint16],
        [1, 2, 3, 4],
        ["none", "lzw", "deflate", "packbits"],
        ["none", "horizontal"],
        [False, True],
        [False, True],
    ):
        if pyramid and not tiled:
            continue
        most = 65536 if dtype is np.uint16 else 256
        pixels = RNG.integers(0, most, (140, 150, bands)).astype(dtype)
        interpretation = {1: "b-w", 2: "b-w", 3: "srgb", 4: "srgb"}[bands]
        if dtype is np.uint16:
            interpretation = {"b-w": "grey16", "srgb": "rgb16"}[interpretation]
        options: dict[str, Any] = {"compression": packing, "predictor": predictor}
        options |= {"tile": tiled, "pyramid": pyramid, "tile_width": 64, "tile_height": 48}
        name = f"{dtype.__name__} {bands} {options}"
        yield name, vips(pixels, interpretation).tiffsave_buffer(**options)


def test_tiff_files_of_libvips_are_read_as_it_reads_them() -> None:
    """Compressed in all its ways, and with smaller versions of themselves behind."""
    checked = 0
    for name, data in vips_tiffs():
        decoded = decode_image(data)

        expected = shown_by_vips(data)
        assert np.array_equal(decoded.pixels, expected), name
        checked += 1

    assert checked > 150


def test_png_files_of_every_depth_are_read_as_libvips_reads_them() -> None:
    checked = 0
    for bands, depth, interlace, size in product(
        [1, 2, 3, 4], [1, 2, 4, 8, 16], [False, True], [(1, 1), (9, 14), (33, 40)]
    ):
        if depth < 8 and bands != 1:
            continue
        dtype: Any = np.uint16 if depth == 16 else np.uint8
        pixels = RNG.integers(0, np.iinfo(dtype).max + 1, (*size, bands)).astype(dtype)
        wide = (
            ["grey16", "grey16", "rgb16", "rgb16"]
            if depth == 16
            else ["b-w", "b-w", "srgb", "srgb"]
        )
        image = vips(pixels, wide[bands - 1])
        data = image.pngsave_buffer(bitdepth=depth, interlace=interlace)

        assert np.array_equal(decode_image(data).pixels, shown_by_vips(data))
        palette = vips(pixels.astype(np.uint8), ["b-w", "b-w", "srgb", "srgb"][bands - 1])
        data = palette.pngsave_buffer(palette=True, bitdepth=min(depth, 8))
        assert np.array_equal(decode_image(data).pixels[:, :, :3], shown_by_vips(data)[:, :, :3])
        checked += 2

    assert checked > 80


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("subsample", ["on", "off"])
def test_jpeg_files_are_read_as_libvips_reads_them(
    bands: int, interlace: bool, subsample: str
) -> None:
    """To a few levels: decoders round differently."""
    rows, columns = np.mgrid[0:60, 0:80]
    ramps = [rows * 4, columns * 3, rows + columns, 255 - rows * 3][:bands]
    pixels = np.dstack(ramps).astype(np.uint8)
    image = vips(pixels, {1: "b-w", 3: "srgb", 4: "cmyk"}[bands])
    data = image.jpegsave_buffer(Q=95, interlace=interlace, subsample_mode=subsample)

    decoded = decode_image(data).pixels

    if bands == 4:  # without a profile, inks are taken for the complements of colours
        inks = pyvips.Image.new_from_buffer(data, "").numpy().astype(int)
        expected = (255 - inks[:, :, :3]) * (255 - inks[:, :, 3:]) // 255
    else:
        expected = shown_by_vips(data).astype(int)
    assert np.abs(decoded - expected).mean() < 1.0
    assert np.abs(decoded - expected).max() <= 6


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("kind", ["webp", "gif", "avif", "heic", "jxl"])
def test_other_formats_are_read_as_libvips_reads_them(bands: int, kind: str) -> None:
    pixels = RNG.integers(0, 256, (20, 30, bands)).astype(np.uint8)
    pixels[:, :, 3:] = 255
    pixels[:5, :, 3:] = 0
    image = vips(pixels, "srgb")
    save = {
        "webp": lambda: image.webpsave_buffer(lossless=True, exact=True),
        "gif": lambda: image.gifsave_buffer(dither=0),
        "avif": lambda: image.heifsave_buffer(compression="av1", lossless=True),
        "heic": lambda: image.heifsave_buffer(compression="hevc", lossless=True),
        "jxl": lambda: image.jxlsave_buffer(lossless=True),
    }
    try:
        data = save[kind]()
    except (pyvips.Error, AttributeError):
        pytest.skip(f"this libvips writes no {kind}")
    if kind in ("heic", "jxl"):
        pytest.importorskip({"heic": "pi_heif", "jxl": "pillow_jxl"}[kind])

    decoded = decode_image(data)

    expected = shown_by_vips(data)
    seen = expected[:, :, 3] > 0 if expected.shape[2] == 4 else np.ones(expected.shape[:2], bool)
    assert decoded.format == kind
    assert decoded.pixels.shape == expected.shape
    assert np.abs(decoded.pixels[seen].astype(int) - expected[seen]).max() <= 2
