"""Models whose networks come in one, large size keep to the contract too.

Their weights are generated, of the real networks at their real sizes; IS-Net's are the real ones.
"""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from paintmq.config import WeightsConfig
from paintmq.testing import ModelContract

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    # PyTorch and pydantic deprecate what the networks' own packages use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class LargeContract(ModelContract):
    """The contract for a model whose weights are made on the spot, and whose runs take seconds."""

    needs: ClassVar[tuple[str, ...]] = ()
    leak_mb = 500  # what PyTorch keeps of its first runs
    at_once = 3
    timeout = 600.0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def generated(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        spec = cls.spec()
        missing = [name for name in (*spec.requires, *cls.needs) if find_spec(name) is None]
        if missing:
            pytest.skip(f"{spec.name} needs {', '.join(missing)}: install {spec.extra}")
        module = import_module("paintmq_plugins.generated_weights")
        writers: Mapping[str, Callable[[Path], None]] = module.WRITERS
        folder = tmp_path_factory.mktemp(spec.name)
        module.generate(folder, {file.name: writers[file.name] for file in spec.weights})
        cls.weights = WeightsConfig(folder=str(folder))

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        assert not np.array_equal(outputs["image"], inputs["image"])


class TestLama(LargeContract):
    plugin = "paintmq_plugins.lama"
    model = "lama"
    size = (24, 32)
    at_once = 8


class TestAnimeLama(LargeContract):
    plugin = "paintmq_plugins.lama"
    model = "anime-lama"
    size = (24, 32)
    at_once = 8


class TestMat(LargeContract):
    plugin = "paintmq_plugins.mat"


class TestFcf(LargeContract):
    plugin = "paintmq_plugins.fcf"
    needs = ("iopaint",)


class TestGfpgan(LargeContract):
    plugin = "paintmq_plugins.gfpgan"
    needs = ("onnx",)
    size = (96, 128)

    def make_inputs(self, seed: int) -> Mapping[str, Any]:
        """Return a picture with a white square, which the detector's stand-in takes for a face."""
        picture = np.array(super().make_inputs(seed)["image"])
        picture[32:64, 32 + 32 * (seed % 2) :][:, :32] = 255
        return {"image": picture}

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        super().check_result(inputs, outputs)
        assert outputs["note"] == b"1 face restored"


class TestRembgOnRealWeights(ModelContract):
    plugin = "paintmq_plugins.background"
    model = "rembg"
    weights = WeightsConfig(
        paths={"isnet-general-use.onnx": os.environ.get("PAINTMQ_TEST_ISNET", "missing.onnx")}
    )
    leak_mb = 900  # ONNX Runtime's arenas, for pictures of 1024 x 1024

    def check_result(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        assert outputs["image"].shape == (*inputs["image"].shape[:2], 4)
