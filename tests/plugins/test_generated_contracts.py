"""Models keep to the contract on weights made on the spot, where their libraries are installed.

The networks of LaMa, MAT, FcF and GFPGAN come in one size, too slow for this: they are tested in
``reference/test_reference_contracts.py``.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from paintmq.config import WeightsConfig
from paintmq.task import Json
from paintmq.testing import ModelContract

DATA = Path(__file__).parents[1] / "data"

pytest.importorskip("torch", reason="needs paintmq[lama]")

pytestmark = pytest.mark.timeout(600)  # a class makes its weights, and runs some forty tasks


class GeneratedContract(ModelContract):
    """The contract for a model whose weights are made on the spot."""

    needs: ClassVar[tuple[str, ...]] = ("torch",)
    """Libraries that the making needs."""
    leak_mb = 300  # what PyTorch keeps of its first runs

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def generated(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        spec = cls.spec()
        missing = [name for name in (*cls.needs, *spec.requires) if find_spec(name) is None]
        if missing:
            pytest.skip(f"{spec.name} needs {', '.join(missing)}: install {spec.extra}")
        module = import_module("paintmq_plugins.generated_weights")
        folder = tmp_path_factory.mktemp(spec.name)
        writers = {file.name: cls.writer(file.name, module.WRITERS) for file in spec.weights}
        module.generate(folder, writers)
        record = module.read_record(folder)
        cls.weights = WeightsConfig(folder=str(folder), trusted_torchscript=tuple(record.values()))

    @classmethod
    def writer(
        cls, name: str, writers: Mapping[str, Callable[[Path], None]]
    ) -> Callable[[Path], None]:
        return writers[name]


class ErasingContract(GeneratedContract):
    """What those that fill masks have in common."""

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        inside = inputs["mask"] > 0
        assert not np.array_equal(outputs["image"][inside], inputs["image"][inside])


class TestZits(ErasingContract):
    plugin = "paintmq_plugins.zits"


class TestFcfAsTorchScript(ErasingContract):
    plugin = "paintmq_plugins.fcf"

    @classmethod
    def writer(
        cls, name: str, writers: Mapping[str, Callable[[Path], None]]
    ) -> Callable[[Path], None]:
        module = import_module("paintmq_plugins.generated_weights")
        write: Callable[[Path], None] = module.write_fcf_stand_in
        return write


class EnlargingContract(GeneratedContract):
    plugin = "paintmq_plugins.realesrgan"
    options: ClassVar[Mapping[str, Json]] = {"tile": 32, "scale": 2}

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        height, width = inputs["image"].shape[:2]
        assert outputs["image"].shape == (2 * height, 2 * width, 3)


class TestRealEsrgan(EnlargingContract):
    model = "realesrgan"


class TestRealEsrganAnime(EnlargingContract):
    model = "realesrgan-anime"


class TestRealEsrganGeneral(EnlargingContract):
    model = "realesrgan-general"


class TestRealEsrganVideoOnRealWeights(EnlargingContract):
    model = "realesrgan-video"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def generated(cls) -> None:
        path = DATA / "realesr-animevideov3-x4.safetensors"
        cls.weights = WeightsConfig(paths={"realesr-animevideov3.pth": str(path)})


class BackgroundContract(GeneratedContract):
    plugin = "paintmq_plugins.background"
    needs = ("torch", "onnx")

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        cut = outputs["image"]
        assert cut.shape == (*inputs["image"].shape[:2], 4)
        assert np.array_equal(cut[:, :, :3], inputs["image"])
        assert 0 < (cut[:, :, 3] > 127).mean() < 1


class TestRembg(BackgroundContract):
    model = "rembg"


class TestRembgU2net(BackgroundContract):
    model = "rembg-u2net"


class TestRembgU2netp(BackgroundContract):
    model = "rembg-u2netp"


class TestRembgSilueta(BackgroundContract):
    model = "rembg-silueta"


class TestAnimeSeg(BackgroundContract):
    model = "anime-seg"
    options: ClassVar[Mapping[str, Json]] = {"output": "mask"}

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        assert outputs["image"].shape == inputs["image"].shape[:2]
