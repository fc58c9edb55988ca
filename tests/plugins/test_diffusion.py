"""The light side of the diffusion models: what the broker knows of them."""

from typing import Any

import pytest

from paintmq.errors import InvalidInputError, InvalidOptionError
from paintmq.plugin.catalog import Catalog
from paintmq.task import Json, PayloadInfo, TaskRequest
from paintmq.testing.example_tasks import make_request
from paintmq_plugins.diffusion import SD15, SD21, SDXL
from paintmq_plugins.diffusion.memory import SIZES, memory_plan
from paintmq_plugins.diffusion.options import SAMPLER_NAMES, DiffusionOptions

CATALOG = Catalog([SD15, SD21, SDXL])


def request(
    model: str = "sd15",
    size: int = 512,
    device: str = "cuda",
    names: tuple[str, ...] = ("image", "mask"),
    **options: Json,
) -> TaskRequest:
    inputs = tuple(
        PayloadInfo(
            name=name, size=9, digest=name * 8, kind="array", dtype="uint8", width=size, height=size
        )
        for name in names
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
        ({"steps": 4, "strength": 0.2}, "steps 4 at strength 0.2 .* at least 5"),
        ({"sampler": "LCM", "steps": 51}, "LCM .* 50 steps"),
        ({"extend_left": 5000}, "extend_left.*5000.*4096"),
    ],
)
def test_a_wrong_option_is_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOptionError, match=words):
        CATALOG.check(request(**dict[str, Any](options)))


def test_a_picture_without_a_mask_is_refused_at_once_unless_it_is_extended() -> None:
    with pytest.raises(InvalidInputError, match=r"^model sd15 needs input 'mask'.*extend_left"):
        CATALOG.check(request(names=("image",)))

    assert CATALOG.check(request(names=("image",), extend_left=8)).needs


def test_a_picture_too_large_to_paint_at_once_is_refused_with_what_helps() -> None:
    with pytest.raises(InvalidInputError, match=r"^25 megapixels .* 16 .*crop=true.*scale=0.25"):
        CATALOG.check(request(size=5120))

    assert CATALOG.check(request(size=5120, crop=True)).needs
    assert CATALOG.check(request(size=5120, scale=0.25)).needs
    assert CATALOG.check(request(size=4096)).needs


def test_requests_share_a_run_when_only_words_and_seeds_differ() -> None:
    assert key(prompt="a cat", seed=1) == key(prompt="a dog", seed=2)
    assert key(steps=20) != key(steps=30)
    assert key(sampler="DDIM") != key()
    assert key(size=512) != key(size=768)
    assert key(extend_left=8) != key()


def test_steps_that_the_strength_leaves_out_do_not_count_unless_the_picture_is_extended() -> None:
    assert DiffusionOptions(steps=10, strength=0.35).steps_run == 3
    assert DiffusionOptions(steps=1, strength=0.35, extend_top=8).steps_run == 1


def test_memory_grows_with_the_canvas_and_not_with_a_cropped_picture() -> None:
    def needs(device: str = "cuda", **more: Any) -> int:
        needed = CATALOG.check(request(device=device, **more)).needs
        return needed["cuda"].gpu_memory_mb if device == "cuda" else needed["cpu"].memory_mb

    assert needs(size=512) < needs(size=1024)
    assert needs(size=512) < needs(size=512, extend_left=1024, extend_top=1024)
    assert needs(size=64) == needs(size=512), "a small picture is painted on a canvas of 512"
    assert needs(size=4096, crop=True) == needs(size=512)
    assert needs(size=2048, scale=0.25) == needs(size=512)
    assert needs(size=512) < 4096, "fits the smallest GPU queue"
    assert needs(model="sdxl", size=1024) < 8192, "fits common GPUs"
    assert needs("cpu", size=512) < needs("cpu", size=1024)


def test_a_worker_with_a_single_thread_runs_it_too() -> None:
    assert CATALOG.check(request(device="cpu")).needs["cpu"].cores == 1


def test_the_time_estimated_grows_with_steps_and_canvas() -> None:
    def seconds(size: int, **options: Any) -> float:
        job = CATALOG.check(request(size=size, **options)).jobs["cuda"]
        return SD15.run_seconds(job)

    assert seconds(512, steps=20) < seconds(512, steps=40) < seconds(1024, steps=40)
    assert seconds(512, steps=40, strength=0.5) == seconds(512, steps=20)


@pytest.mark.parametrize(
    ("model", "free_mb", "weights", "in_one_piece"),
    [
        ("sd15", 24_000, "full", True),
        ("sd15", 3_300, "full", True),
        ("sd15", 3_000, "offload", True),
        ("sd15", 2_600, "offload", False),
        ("sdxl", 80_000, "full", True),
        ("sdxl", 11_400, "full", True),
        ("sdxl", 9_500, "full", False),
        ("sdxl", 8_000, "offload", False),
        ("sdxl", 500, "offload", False),
    ],
)
def test_the_quickest_plan_that_fits_is_taken(
    model: str, free_mb: int, weights: str, in_one_piece: bool
) -> None:
    size = SIZES[model]

    plan = memory_plan(free_mb, size)

    assert plan.weights == weights
    assert (size.native_pixels <= plan.whole_pixels) == in_one_piece


@pytest.mark.parametrize("model", ["sd15", "sd21", "sdxl"])
def test_what_is_planned_fits_and_more_memory_is_never_worse(model: str) -> None:
    size = SIZES[model]
    least = size.least_mb(size.native_pixels)
    plans = {free_mb: memory_plan(free_mb, size) for free_mb in range(least, 40_000, 97)}

    for free_mb, plan in plans.items():
        kept = size.weights_mb if plan.weights == "full" else size.largest_part_mb
        together = plan.requests_at_once(size.native_pixels) * size.native_pixels
        beside = max(
            size.network_mb * together / 2**20,
            size.gpu_decoder_mb * min(plan.whole_pixels, size.native_pixels) / 2**20,
        )
        assert kept + beside <= free_mb
    ranks = [(p.weights == "full", p.requests_at_once(2**18)) for p in plans.values()]
    full = [rank for rank in ranks if rank[0]]
    offloaded = [rank for rank in ranks if not rank[0]]
    assert ranks == [*sorted(offloaded), *sorted(full)]
    assert "megapixels" in str(plans[least])


def test_a_batch_is_run_in_as_many_parts_as_the_memory_asks_for() -> None:
    plan = memory_plan(12_000, SIZES["sd15"])

    assert plan.requests_at_once(512 * 512) >= 4
    assert plan.requests_at_once(100_000_000) == 1
