"""Tiny pipelines with random weights, and a way to paint with them."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from attrs import frozen
from numpy.typing import NDArray

from paintmq.config import WeightsConfig
from paintmq.model import Device, Model, ModelSpec
from paintmq.task import Json
from paintmq.testing.model_bench import ModelBench
from paintmq.testing.scripted_context import ScriptedContext
from paintmq.weights import WeightFolder
from paintmq_plugins.diffusion import SD15, SD21, SDXL

if find_spec("diffusers") is None:
    collect_ignore_glob = ["*"]  # needs paintmq[diffusion]

SPECS = {"sd15": SD15, "sd21": SD21, "sdxl": SDXL}

Pixels = NDArray[np.uint8]


@frozen
class Scene:
    """What is to be painted on."""

    image: Pixels
    mask: Pixels | None = None


class Paint(Protocol):
    """Paints a batch of wishes on one scene, with a tiny pipeline of the family named."""

    def __call__(
        self,
        family: str,
        scene: Scene,
        *options: Mapping[str, Json],
        context: ScriptedContext | None = None,
    ) -> list[Pixels]: ...


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return a folder in diffusers' layout for each family."""
    from paintmq_plugins.generated_weights.pipelines import save_tiny_pipeline

    root = tmp_path_factory.mktemp("tiny")
    return {
        name: save_tiny_pipeline(root / f"{name}-inpainting", name)
        for name in ("sd15", "sd21", "sdxl")
    }


@pytest.fixture(scope="session")
def load() -> Callable[[str, WeightsConfig], tuple[ModelBench, Model]]:
    """Return a function that loads a model by its name, with the weights that settings name."""

    def load_model(name: str, config: WeightsConfig) -> tuple[ModelBench, Model]:
        spec: ModelSpec = SPECS[name]
        # One thread: the networks are so small that a second one would mostly wait.
        device = Device(kind="cpu", threads=1, memory_mb=16_384)
        bench = ModelBench(spec=spec, weights=WeightFolder(config), device=device)
        return bench, bench.load()

    return load_model


@pytest.fixture(scope="session")
def notes() -> list[str]:
    """Return what was told with each result of the last batch."""
    return []


@pytest.fixture(scope="session")
def paint_with(
    tmp_path_factory: pytest.TempPathFactory, notes: list[str]
) -> Callable[..., list[Pixels]]:
    """Return a function that paints with a loaded model."""
    scratch = tmp_path_factory.mktemp("scratch")

    def paint(
        loaded: tuple[ModelBench, Model],
        scene: Scene,
        *options: Mapping[str, Json],
        context: ScriptedContext | None = None,
    ) -> list[Pixels]:
        inputs = {"image": scene.image} | ({} if scene.mask is None else {"mask": scene.mask})
        bench, model = loaded
        requests = [bench.request({"steps": 3} | dict(each), inputs) for each in options]
        outputs: Any = model.run(requests, context or ScriptedContext(scratch=scratch))
        notes[:] = [each.get("note", b"").decode() for each in outputs]
        return [each["image"] for each in outputs]

    return paint


@pytest.fixture(scope="session")
def paint(
    pipelines: Mapping[str, Path],
    load: Callable[[str, WeightsConfig], tuple[ModelBench, Model]],
    paint_with: Callable[..., list[Pixels]],
) -> Paint:
    made: dict[str, tuple[ModelBench, Model]] = {}

    def paint_family(
        family: str,
        scene: Scene,
        *options: Mapping[str, Json],
        context: ScriptedContext | None = None,
    ) -> list[Pixels]:
        if family not in made:
            config = WeightsConfig(folder=str(pipelines[family].parent))
            made[family] = load(family, config)
        return paint_with(made[family], scene, *options, context=context)

    return paint_family


@pytest.fixture
def scene(photograph: Callable[..., Pixels], blots: Callable[..., Pixels]) -> Scene:
    return Scene(photograph("astronaut", (256, 200)), blots(256, 200))


@pytest.fixture
def context(tmp_path: Path) -> ScriptedContext:
    return ScriptedContext(scratch=tmp_path)


@pytest.fixture(scope="session")
def make_scene() -> type[Scene]:
    return Scene
