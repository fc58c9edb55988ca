"""Models whose networks come in one, large size keep to the contract too."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

import pytest
from attrs import evolve

from paintmq.config import WeightsConfig
from paintmq.task import Json
from paintmq.testing import ModelContract

pytestmark = [pytest.mark.reference, pytest.mark.slow, pytest.mark.timeout(600)]

GENERATED = ("torch", "spandrel", "safetensors")


class TestLama(ModelContract):
    plugin = "paintmq_plugins.lama"
    model = "lama"
    size = (24, 32)
    leak_mb = 400  # what PyTorch keeps of its first runs

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def generated(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        if any(find_spec(name) is None for name in GENERATED):
            pytest.skip("needs paintmq[lama]")
        import torch
        from safetensors.torch import save_file

        from paintmq_plugins.torch_weights import import_spandrel

        import_spandrel()
        from spandrel.architectures.LaMa import LaMa

        torch.manual_seed(0)
        state = LaMa(in_nc=4, out_nc=3).state_dict()
        path = tmp_path_factory.mktemp("lama") / "lama.safetensors"
        save_file({k: v.contiguous().clone() for k, v in state.items()}, path)
        cls.weights = evolve(WeightsConfig(), paths={"big-lama.pt": str(path)})


class TestBackgroundRemoval(ModelContract):
    plugin = "paintmq_plugins.background"
    model = "rembg"
    weights = WeightsConfig(
        paths={"isnet-general-use.onnx": os.environ.get("PAINTMQ_TEST_ISNET", "missing.onnx")}
    )
    options: ClassVar[Mapping[str, Json]] = {"output": "cutout"}
    leak_mb = 900  # ONNX Runtime's arenas, for pictures of 1024 x 1024

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        assert outputs["image"].shape == (*inputs["image"].shape[:2], 4)
