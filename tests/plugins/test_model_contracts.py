"""First-party models keep to the contract, on real weights or stand-ins made on the spot.

Where a model's libraries are not installed its tests are skipped, with what to install. The
networks of LaMa, MAT, FcF and GFPGAN come in one size, too slow for this: what is around them is
tested here by ZITS's and in the reference suite.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paintmq.config import WeightsConfig
from paintmq.task import Json
from paintmq.testing import ModelContract

DATA = Path(__file__).parents[1] / "data"


class TestOpenCv(ModelContract):
    plugin = "paintmq_plugins.opencv"

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        inside = inputs["mask"] > 0
        assert not np.array_equal(outputs["image"][inside], inputs["image"][inside])


class TestRealEsrgan(ModelContract):
    plugin = "paintmq_plugins.realesrgan"
    model = "realesrgan-video"
    options: ClassVar[Mapping[str, Json]] = {"tile": 32, "scale": 2}
    weights = WeightsConfig(
        paths={"realesr-animevideov3.pth": str(DATA / "realesr-animevideov3-x4.safetensors")}
    )
    leak_mb = 200  # what PyTorch keeps of its first runs

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        height, width = inputs["image"].shape[:2]
        assert outputs["image"].shape == (2 * height, 2 * width, 3)
