"""The light side of the diffusion models: what the broker knows of them."""

from typing import Any

import pytest

from paintmq.catalog import Catalog
from paintmq.errors import InvalidOptionError
from paintmq.task import Json, PayloadInfo, TaskRequest
from paintmq.testing.broker_harness import make_request
from paintmq_plugins.diffusion import SD15, SD15_SIZE, SD21, SDXL, SDXL_SIZE
from paintmq_plugins.diffusion_memory import memory_plan
from paintmq_plugins.diffusion_options import SAMPLER_NAMES

CATALOG = Catalog([SD15, SD21, SDXL])


def request(
    model: str = "sd15", size: int = 512, device: str = "cuda", **options: Json
) -> TaskRequest:
    inputs = tuple(
        PayloadInfo(
            name=name, size=9, digest=name * 8, kind="array", dtype="uint8", width=size, height=size
        )
        for name in ("image", "mask")
    )
    return make_request(
        model=model, task_type="inpaint", options=options, inputs=inputs, device=device
    )


def key(**options: Any) -> str:
    checked = CATALOG.check(request(**options))
    assert SD15.batch_key is not None
    return SD15.batch_key(checked.jobs["cuda"])


def test_there_are_all_nineteen_samplers() -> None:
    assert len(set(SAMPLER_NAMES)) == 19


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "Eulr"}, "Euler"),
        ({"steps": 0}, "steps"),
        ({"strength": 0.0}, "strength"),
        ({"promt": "a cat"}, "prompt"),
    ],
)
def test_a_wrong_option_is_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOptionError, match=words):
        CATALOG.check(request(**dict[str, Any](options)))


def test_requests_share_a_run_when_only_words_and_seeds_differ() -> None:
    assert key(prompt="a cat", seed=1) == key(prompt="a dog", seed=2)
    assert key(steps=20) != key(steps=30)
    assert key(sampler="DDIM") != key()
    assert key(size=512) != key(size=768)
    assert key(extend_left=8) != key()


def test_memory_grows_with_the_canvas_and_not_with_a_cropped_picture() -> None:
    def needs(**more: Any) -> int:
        return CATALOG.check(request(**more)).needs["cuda"].gpu_memory_mb

    assert needs(size=512) < needs(size=1024)
    assert needs(size=4096, crop=True) == needs(size=512)
    assert needs(size=512) < 4096, "fits the smallest GPU queue"
    assert needs(model="sdxl", size=1024) < 12_288, "fits the middle GPU queue"


@pytest.mark.parametrize(
    ("free_mb", "weights", "tiled"),
    [(80_000, "full", False), (9_500, "full", True), (5_000, "offload", True)],
)
def test_the_quickest_plan_that_fits_is_taken(free_mb: int, weights: str, tiled: bool) -> None:
    plan = memory_plan(free_mb, SDXL_SIZE, 1024 * 1024)

    assert (plan.weights, plan.tiled_decoder) == (weights, tiled)


def test_a_small_model_fits_a_small_gpu_whole() -> None:
    assert memory_plan(4096, SD15_SIZE, 512 * 512).weights == "full"
