"""What the comparisons share: IOPaint as the oracle, pictures, masks, and generated weights.

IOPaint's pins fit nothing newer, so it is installed without its dependencies and its modules are
imported without its packages' own ``__init__``; see ``plugins/paintmq_plugins/README.md``.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq.config import WeightsConfig
from paintmq.image import decode_image
from paintmq.model import Device, Model, ModelSpec
from paintmq.plugin.options import parse_options
from paintmq.task import Json
from paintmq.testing.model_bench import ModelBench
from paintmq.testing.scripted_context import ScriptedContext
from paintmq.weights import WeightFolder
from paintmq.weights.checksums import checksums

DATA = Path(__file__).parents[2] / "data"

Run = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="session")
def iopaint() -> Callable[[str], Any]:
    """Return a function that imports a module of IOPaint."""
    found = importlib.util.find_spec("iopaint") if "iopaint" not in sys.modules else None
    if "iopaint" not in sys.modules:
        if found is None or not found.submodule_search_locations:
            pytest.skip("needs iopaint: see plugins/paintmq_plugins/README.md")
        root = Path(found.submodule_search_locations[0])
        for name, folder in (
            ("iopaint", root),
            ("iopaint.model", root / "model"),
            ("iopaint.plugins", root / "plugins"),
        ):
            package = types.ModuleType(name)
            package.__path__ = [str(folder)]
            sys.modules[name] = package
    return lambda name: importlib.import_module(f"iopaint.{name}")


@pytest.fixture(scope="session")
def photograph() -> Callable[..., NDArray[np.uint8]]:
    """Return a function that gives a photograph, scaled to a width and height if they are given."""
    import cv2

    def picture(name: str, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        pixels = decode_image((DATA / f"{name}.png").read_bytes()).pixels.astype(np.uint8)
        if size is None:
            return pixels
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)

    return picture


@pytest.fixture(scope="session")
def blots() -> Callable[..., NDArray[np.uint8]]:
    """Return a function that makes a mask of a few blots, one of them at an edge."""
    import cv2

    def mask(width: int, height: int, seed: int = 0, count: int = 3) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        result = np.zeros((height, width), np.uint8)
        for _ in range(count):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            axes = (int(rng.integers(5, 40)), int(rng.integers(5, 40)))
            cv2.ellipse(result, centre, axes, float(rng.integers(180)), 0, 360, 255, -1)
        cv2.circle(result, (0, height // 2), 20, 255, -1)
        return result

    return mask


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Run]:
    """Return a function that loads a model with the given weight files and gives back its run."""

    def load(spec: ModelSpec, files: Mapping[str, Path]) -> Run:
        trusted = tuple(checksums(path)[0] for path in files.values() if path.suffix == ".pt")
        config = WeightsConfig(
            folder=str(tmp_path / "models"),
            paths={name: str(path) for name, path in files.items()},
            trusted_torchscript=trusted,
        )
        bench = ModelBench(
            spec=spec,
            weights=WeightFolder(config),
            device=Device(kind="cpu", threads=2, memory_mb=16_384),
        )
        model: Model = bench.load()
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)

        def run(options: Mapping[str, Json] | None = None, **inputs: object) -> Any:
            parse_options(spec.options, options or {})
            request = bench.request(options or {}, inputs)
            (outputs,) = model.run([request], ScriptedContext(scratch=scratch))
            return outputs["image"]

        return run

    return load
