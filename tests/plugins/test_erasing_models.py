"""Whatever a network paints, the erasing models change no pixel outside the mask.

The networks are stand-ins that paint noise over everything, known pixels included; all around them
is the models' own: padding, thresholds, strategies and pasting.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paintmq.model import Device, ModelSpec
from paintmq.task import Json
from paintmq.testing.model_bench import ModelBench
from paintmq.testing.scripted_context import ScriptedContext
from paintmq.weights import WeightFolder
from paintmq_plugins import fcf, lama, mat, zits

torch = pytest.importorskip("torch", reason="needs paintmq[lama]")

SPECS = {spec.name: spec for spec in (lama.LAMA, mat.SPEC, fcf.SPEC, zits.SPEC)}
Rows = tuple[NDArray[Any], NDArray[np.uint8], NDArray[Any]]


def noise(seed: int) -> Callable[..., Any]:
    """Return a network: takes a picture (1, C, H, W) first, gives noise beyond its range."""
    generator = torch.Generator().manual_seed(seed)

    def network(picture: Any, *more: Any, **options: Any) -> Any:
        height, width = picture.shape[2:]
        return torch.rand((1, 3, height, width), generator=generator) * 3 - 1

    return network


def with_noise(spec: ModelSpec, seed: int) -> Any:
    """Return the model as if loaded, but with noise for a network."""
    import importlib

    module, _, name = spec.implementation.partition(":")
    model = getattr(importlib.import_module(module), name)(spec, WeightFolder())
    model.torch_device = torch.device("cpu")
    model._network = model._inpaint = noise(seed)
    model._latent = model._label = None
    model._structure = lambda image, hole: (None, None)  # of ZITS: what its network is told besides
    return model


def erased(
    name: str, options: Mapping[str, Json], image: NDArray[Any], mask: NDArray[np.uint8], seed: int
) -> NDArray[Any]:
    spec = SPECS[name]
    bench = ModelBench(spec=spec, weights=WeightFolder(), device=Device(kind="cpu"))
    request = bench.request(options, {"image": image, "mask": mask})
    context = ScriptedContext(scratch=Path())
    result: NDArray[Any] = bench.run(with_noise(spec, seed), request, context)["image"]  # type: ignore[assignment]  # no bytes
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    height=st.integers(17, 120),
    width=st.integers(17, 120),
    channels=st.sampled_from([3, 4]),
    dtype=st.sampled_from(["uint8", "uint16"]),
    strategy=st.sampled_from(["crop", "resize", "original"]),
    feather=st.sampled_from([0, 3]),
    seed=st.integers(0, 1000),
)
def test_pixels_outside_the_mask_and_alpha_never_change(
    name: str,
    height: int,
    width: int,
    channels: int,
    dtype: str,
    strategy: str,
    feather: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, np.iinfo(dtype).max, (height, width, channels)).astype(dtype)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(0, 4)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = 255
    options: dict[str, Json] = {"feather": feather}
    if name != "fcf":
        options |= {"strategy": strategy, "crop_trigger": 40, "crop_margin": 8, "resize_limit": 64}

    result = erased(name, options, image, mask, seed)

    assert result.dtype == image.dtype
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert np.array_equal(result[:, :, 3:], image[:, :, 3:])
    if (mask > 0).sum() > 100:
        assert not np.array_equal(result[mask > 0], image[mask > 0])
