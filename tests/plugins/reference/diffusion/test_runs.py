"""Runs of the diffusion models on tiny random weights: batches, progress, cancels, odd inputs."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq.errors import Cancelled, InvalidInputError, ModelError
from paintmq.task import Json
from paintmq.testing.scripted_context import ScriptedContext
from paintmq_plugins.diffusion.options import SAMPLER_NAMES

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # of schedulers
]

FAMILIES = ("sd15", "sd21", "sdxl")
Pixels = NDArray[np.uint8]


def alike(first: Pixels, second: Pixels) -> bool:
    """Return whether two pictures differ by no more than a rounding."""
    return int(np.abs(first.astype(int) - second.astype(int)).max()) <= 1


# ---- batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_request_gets_the_same_picture_alone_and_in_a_batch(
    family: str, paint: Any, scene: Any
) -> None:
    """I22: what others ask for in the same batch leaves no trace."""
    wishes: list[dict[str, Json]] = [
        {"prompt": "a cat", "seed": 1},
        {"prompt": "a dog", "seed": 2, "negative_prompt": "fur"},
        {"prompt": "", "seed": 1},
        {"prompt": "a cat", "seed": 1, "steps": 2},  # does not fit: a run of its own
    ]
    alone = [paint(family, scene, wish)[0] for wish in wishes]

    together = paint(family, scene, *wishes)

    assert all(map(alike, alone, together))
    assert not np.array_equal(alone[0], alone[1])
    assert not np.array_equal(alone[0], alone[2])


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_no_sampler_mixes_up_the_noise_of_a_batch(sampler: str, paint: Any, scene: Any) -> None:
    wishes = [{"sampler": sampler, "seed": seed} for seed in (1, 2)]

    together = paint("sd15", scene, *wishes)

    assert all(alike(paint("sd15", scene, w)[0], t) for w, t in zip(wishes, together, strict=True))
    assert not np.array_equal(*together)


def test_one_request_that_cannot_be_met_leaves_the_rest_of_the_batch_to_be_tried_again(
    paint: Any, scene: Any
) -> None:
    """The worker splits a batch that failed; here it must fail before it costs anything."""
    with pytest.raises(ModelError, match="tokens"):
        paint("sd15", scene, {}, {"prompt": "x" * 100})


def test_a_seed_left_open_is_told_and_gives_the_picture_again(
    paint: Any, scene: Any, notes: list[str]
) -> None:
    first, other = paint("sd15", scene, {"seed": -1}, {"seed": -1, "prompt": "a cat"})
    told = [int(note.removeprefix("seed ")) for note in notes]

    (again,) = paint("sd15", scene, {"seed": told[0]})

    assert alike(first, again)
    assert told[0] != told[1]
    assert not np.array_equal(first, other)
    assert notes == [""], "who asks for a seed knows it"


# ---- progress and cancelling -------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["PNDM", "Heun", "DPM2 a", "UniPC"])
def test_progress_ends_at_its_total_whatever_the_sampler_calls_a_step(
    sampler: str, paint: Any, scene: Any, context: ScriptedContext
) -> None:
    wish = {"sampler": sampler, "preview_every": 2, "steps": 4}

    paint("sd15", scene, wish, context=context)

    assert [step for step, _ in context.steps] == list(range(1, len(context.steps) + 1))
    assert {total for _, total in context.steps} == {context.steps[-1][0]}
    assert context.previews[0].shape == (25, 32, 3)
    assert context.previews[0].dtype == np.uint8
    assert len(context.previews) == len(context.steps) // 2


def test_progress_never_goes_back_when_a_batch_takes_several_runs(
    paint: Any, scene: Any, context: ScriptedContext
) -> None:
    paint("sd15", scene, {"steps": 4}, {"steps": 2}, {"steps": 3}, context=context)

    steps = [step for step, _ in context.steps]
    assert steps == list(range(1, 10))
    assert all(step <= total for step, total in context.steps)
    assert context.steps[-1] == (9, 9)


def test_a_cancel_is_heeded_within_a_step_and_the_model_works_on(
    paint: Any, scene: Any, context: ScriptedContext
) -> None:
    before = paint("sd15", scene, {})
    context.cancel_after = 2

    with pytest.raises(Cancelled):
        paint("sd15", scene, {"steps": 30}, context=context)

    assert len(context.steps) <= 3
    assert np.array_equal(paint("sd15", scene, {})[0], before[0])


# ---- memory ------------------------------------------------------------------------------------


class _Pipe:
    """Takes note of how a pipeline is laid out on a GPU that is not there."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.vae: Any = SimpleNamespace(enable_slicing=lambda: self.done.append("sliced"))

    def to(self, device: object) -> None:
        self.done.append(f"moved to {device}")

    def enable_model_cpu_offload(self, *, device: object) -> None:
        self.done.append(f"offloaded from {device}")


@pytest.mark.parametrize(
    ("free_mb", "laid_out", "resident_mb"),
    [(24_000, "moved to cuda:0", 6700), (8_000, "offloaded from cuda:0", 5000)],
)
def test_a_model_is_laid_out_as_the_free_memory_allows_and_says_so(
    free_mb: int,
    laid_out: str,
    resident_mb: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import torch

    from paintmq.weights import WeightFolder
    from paintmq_plugins.diffusion import SDXL
    from paintmq_plugins.diffusion.model import DiffusionInpainting

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free_mb * 2**20, 0))
    model, pipe = DiffusionInpainting(SDXL, WeightFolder()), _Pipe()
    model._device = torch.device("cuda:0")

    with caplog.at_level("INFO"):
        model._place(pipe)

    assert pipe.done == ["sliced", laid_out]
    assert (pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size) == (512, 64)
    assert f"sdxl: {free_mb} MB of GPU memory are free" in caplog.text
    assert model.resident_mb() == resident_mb


def test_what_does_not_fit_at_once_is_run_in_parts_and_decoded_in_tiles(
    load: Any,
    paint_with: Any,
    pipelines: Any,
    photograph: Any,
    make_scene: Any,
    context: ScriptedContext,
) -> None:
    from paintmq.config import WeightsConfig
    from paintmq_plugins.diffusion.memory import MemoryPlan

    loaded = load("sd15", WeightsConfig(folder=str(pipelines["sd15"].parent)))
    image = photograph("astronaut", (600, 520))
    scene = make_scene(image, np.full(image.shape[:2], 255, np.uint8))
    wishes = [{"seed": seed, "steps": 2} for seed in (1, 2, 3)]
    plain = paint_with(loaded, scene, *wishes)
    loaded[1]._plan = MemoryPlan("full", whole_pixels=512 * 512, pixels_at_once=2 * 600 * 520)
    loaded[1]._pipe.vae.tile_sample_min_size = 512
    loaded[1]._pipe.vae.tile_latent_min_size = 64

    parts = paint_with(loaded, scene, *wishes, context=context)

    assert context.steps == [(1, 4), (2, 4), (3, 4), (4, 4)], "two in the first run, then one"
    assert loaded[1]._pipe.vae.use_tiling
    # Tiles know nothing beyond their edges, so that the picture differs, and is the same one.
    assert all(
        np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9 for a, b in zip(plain, parts, strict=True)
    )
    small = make_scene(image[:512, :512], np.full((512, 512), 255, np.uint8))
    paint_with(loaded, small, {"steps": 1})
    assert not loaded[1]._pipe.vae.use_tiling


# ---- pictures and masks ------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_mask_gives_the_picture_back_without_computing(
    family: str,
    paint: Any,
    scene: Any,
    make_scene: Any,
    context: ScriptedContext,
    notes: list[str],
) -> None:
    nothing = make_scene(scene.image, np.zeros_like(scene.mask))

    (result,) = paint(family, nothing, {"steps": 500}, context=context)

    assert np.array_equal(result, scene.image)
    assert context.steps == [(1, 1)]
    assert "covers nothing" in notes[0]


def test_a_mask_that_covers_everything_paints_the_whole_picture(
    paint: Any, scene: Any, make_scene: Any
) -> None:
    everything = make_scene(scene.image, np.full_like(scene.mask, 255))

    (result,) = paint("sd15", everything, {"prompt": "a cat"})

    assert result.shape == scene.image.shape
    assert (result != scene.image).mean() > 0.9


def test_without_a_mask_a_picture_can_be_extended_and_nothing_else(
    paint: Any, scene: Any, make_scene: Any
) -> None:
    bare = make_scene(scene.image)

    (result,) = paint("sd15", bare, {"extend_right": 64, "strength": 0.1})

    assert result.shape == (200, 320, 3)
    assert np.array_equal(result[:, :256], scene.image)
    with pytest.raises(InvalidInputError, match=r"mask.*extend_left"):
        paint("sd15", bare, {})


@pytest.mark.parametrize("size", [(1, 1), (37, 61), (521, 519)])
def test_sides_need_be_no_multiples_of_anything(
    size: tuple[int, int], paint: Any, make_scene: Any
) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[: (size[0] + 1) // 2] = 255

    (result,) = paint("sd15", make_scene(image, mask), {"steps": 1})

    assert result.shape == image.shape
    assert np.array_equal(result[mask == 0], image[mask == 0])


@pytest.mark.parametrize("kind", [(4, np.uint8), (3, np.uint16), (4, np.uint16)])
def test_depth_and_alpha_are_kept(
    kind: tuple[int, type], paint: Any, scene: Any, make_scene: Any
) -> None:
    channels, dtype = kind
    deep = scene.image.astype(dtype) * (257 if dtype is np.uint16 else 1)
    alpha: Any = np.arange(deep[..., :1].size).reshape(*deep.shape[:2], 1).astype(dtype)
    image = np.concatenate([deep, alpha], axis=2)[..., :channels]
    wish = {"prompt": "a cat"}

    (result,) = paint("sd15", make_scene(image, scene.mask), wish)
    (plain,) = paint("sd15", scene, wish)

    assert result.dtype == dtype
    assert np.array_equal(result[..., 3:], image[..., 3:])
    assert np.array_equal(result[scene.mask == 0], image[scene.mask == 0])
    assert alike((result[..., :3] // (257 if dtype is np.uint16 else 1)).astype(np.uint8), plain)


# ---- what cannot be done -----------------------------------------------------------------------


def test_a_prompt_longer_than_the_model_reads_is_refused_with_what_it_would_not_read(
    paint: Any, scene: Any
) -> None:
    paint("sd15", scene, {"prompt": "x" * 75, "steps": 1})

    with pytest.raises(ModelError, match=r"'negative_prompt' has 79 tokens.* 75.*'tail'") as caught:
        paint("sd15", scene, {"negative_prompt": "x" * 75 + "tail"})

    assert caught.value.code == "invalid_option"
    assert not caught.value.retryable


def test_steps_too_few_for_the_sampler_are_the_clients_error_and_named(
    paint: Any, scene: Any
) -> None:
    with pytest.raises(ModelError, match="PNDM, steps 3 and strength 1") as caught:
        paint("sdxl", scene, {"steps": 3, "sampler": "PNDM"})

    assert caught.value.code == "invalid_option"
    assert not caught.value.retryable


def test_a_single_step_runs_on_every_family(paint: Any, scene: Any) -> None:
    for family in FAMILIES:
        (result,) = paint(family, scene, {"steps": 1})
        assert not np.array_equal(result, scene.image)


def test_what_is_no_number_is_no_picture(
    paint_with: Any, load: Any, pipelines: Any, scene: Any
) -> None:
    from paintmq.config import WeightsConfig

    loaded = load("sd15", WeightsConfig(folder=str(pipelines["sd15"].parent)))
    decoder: Any = loaded[1]._pipe.vae.decoder
    decoder.conv_out.weight.data[:] = float("nan")

    with pytest.raises(ModelError, match="NaN") as caught:
        paint_with(loaded, scene, {"steps": 1})

    assert caught.value.code == "not_a_number"
