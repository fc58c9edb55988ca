"""The diffusion models keep to the contract, on tiny random weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import evolve

from paintmq.config import WeightsConfig
from paintmq.task import Json
from paintmq.testing import ModelContract
from paintmq.testing.model_bench import ModelBench

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # of schedulers
]


class _Diffusion(ModelContract):
    plugin = "paintmq_plugins.diffusion"
    options: ClassVar[Mapping[str, Json]] = {"steps": 2, "prompt": "a cat", "sampler": "Euler a"}
    leak_mb = 200  # what PyTorch keeps of its first runs
    at_once = 3
    timeout = 600.0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def generated(cls, pipelines: Mapping[str, Path]) -> None:
        cls.weights = evolve(WeightsConfig(), folder=str(pipelines["sd15"].parent))

    @classmethod
    def make_bench(cls) -> ModelBench:
        bench = super().make_bench()
        # The networks are so small that a second thread would mostly wait.
        return evolve(bench, device=evolve(bench.device, threads=1))


class TestSd15(_Diffusion):
    model = "sd15"


class TestSd21(_Diffusion):
    model = "sd21"


class TestSdxl(_Diffusion):
    model = "sdxl"
