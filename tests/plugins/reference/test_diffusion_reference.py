"""The diffusion models on tiny random weights: against IOPaint, the bare pipeline, and themselves.

IOPaint runs the same diffusers underneath, so a match proves padding, arguments, seeds, samplers
and the way back into the picture, not the networks.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq.config import WeightsConfig
from paintmq.errors import Cancelled, ModelError
from paintmq.model import Device, Model, ModelSpec
from paintmq.task import Json
from paintmq.testing.model_bench import ModelBench
from paintmq.testing.scripted_context import ScriptedContext
from paintmq.weights import WeightFolder
from paintmq_plugins.diffusion import SD15, SD21, SDXL
from paintmq_plugins.diffusion_options import SAMPLER_NAMES

pytest.importorskip("diffusers", reason="needs paintmq[diffusion]")
import torch
from PIL import Image

from paintmq_plugins.tiny_diffusion import save_tiny_pipeline

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # of the oracle and of schedulers
]

SPECS = {"sd15": SD15, "sd21": SD21, "sdxl": SDXL}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {
        "sd15": save_tiny_pipeline(root / "sd15-inpainting", "sd15"),
        "sd21": save_tiny_pipeline(root / "sd21-inpainting", "sd21"),
        "sdxl": save_tiny_pipeline(root / "sdxl-inpainting", "sdxl"),
    }


@pytest.fixture(scope="module")
def benches(folders: Mapping[str, Path]) -> Callable[[str], tuple[ModelBench, Model]]:
    made: dict[str, tuple[ModelBench, Model]] = {}

    def bench(name: str) -> tuple[ModelBench, Model]:
        if name not in made:
            config = WeightsConfig(folder=str(folders[name].parent))
            made[name] = model_bench(SPECS[name], config)
        return made[name]

    return bench


def model_bench(spec: ModelSpec, config: WeightsConfig) -> tuple[ModelBench, Model]:
    bench = ModelBench(
        spec=spec,
        weights=WeightFolder(config),
        device=Device(kind="cpu", threads=2, memory_mb=16_384),
    )
    return bench, bench.load()


@pytest.fixture
def scene(
    photograph: Callable[..., NDArray[np.uint8]], blots: Callable[..., NDArray[np.uint8]]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return photograph("astronaut", (256, 200)), blots(256, 200)


def run(
    bench: tuple[ModelBench, Model],
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    context: ScriptedContext,
    *options: Mapping[str, Json],
) -> list[NDArray[np.uint8]]:
    inputs = {"image": scene[0], "mask": scene[1]}
    requests = [bench[0].request({"steps": 3} | dict(each), inputs) for each in options]
    outputs: Any = bench[1].run(requests, context)
    return [each["image"] for each in outputs]


@pytest.fixture
def context(tmp_path: Path) -> ScriptedContext:
    return ScriptedContext(scratch=tmp_path)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_sd15_paints_as_iopaint_does_inside_the_mask(
    sampler: str,
    iopaint: Callable[[str], Any],
    folders: Mapping[str, Path],
    benches: Callable[[str], tuple[ModelBench, Model]],
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    context: ScriptedContext,
) -> None:
    image, mask = scene
    ours = run(benches("sd15"), scene, context, {"sampler": sampler, "prompt": "a cat", "seed": 7})

    theirs = iopaint_result(iopaint, folders["sd15"], image, mask, sampler)

    # Where its blurred mask ends inside ours, both mix the same; beyond, only IOPaint changes.
    difference = np.abs(ours[0].astype(int) - theirs.astype(int))[mask > 0]
    assert difference.max() <= 1
    assert np.array_equal(ours[0][mask == 0], image[mask == 0])


def iopaint_result(
    iopaint: Callable[[str], Any],
    folder: Path,
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    sampler: str,
) -> NDArray[np.uint8]:
    schema = iopaint("schema")
    model = iopaint("model.sd").SD(
        "cpu",
        no_half=True,
        low_mem=False,
        cpu_offload=False,
        disable_nsfw=True,
        sd_cpu_textencoder=False,
        local_files_only=True,
        model_info=schema.ModelInfo(
            name="tiny", path=str(folder), model_type=schema.ModelType.DIFFUSERS_SD_INPAINT
        ),
    )
    request = schema.InpaintRequest(
        prompt="a cat", sd_steps=3, sd_seed=7, sd_sampler=sampler, sd_mask_blur=11
    )
    result = np.clip(model(image, mask, request), 0, 255).astype(np.uint8)
    picture: NDArray[np.uint8] = result[:, :, ::-1]
    return picture


@pytest.mark.parametrize("name", ["sd15", "sd21", "sdxl"])
def test_it_paints_what_the_bare_pipeline_paints(
    name: str,
    folders: Mapping[str, Path],
    benches: Callable[[str], tuple[ModelBench, Model]],
    photograph: Callable[..., NDArray[np.uint8]],
    context: ScriptedContext,
) -> None:
    from diffusers import AutoPipelineForInpainting

    image, mask = photograph("astronaut", (512, 512)), np.zeros((512, 512), np.uint8)
    mask[100:300, 150:400] = 255
    ours = run(
        benches(name), (image, mask), context, {"mask_blur": 0, "sampler": "DDIM", "seed": 3}
    )

    pipe = AutoPipelineForInpainting.from_pretrained(folders[name], local_files_only=True)
    from diffusers import DDIMScheduler

    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    painted = pipe(
        prompt="",
        negative_prompt="",
        image=Image.fromarray(image),
        mask_image=Image.fromarray(mask),
        height=512,
        width=512,
        num_inference_steps=3,
        guidance_scale=7.5,
        strength=0.999 if name == "sdxl" else 1.0,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).images[0]

    assert np.array_equal(ours[0][mask > 0], np.rint(painted * 255).astype(np.uint8)[mask > 0])


@pytest.mark.parametrize("name", ["sd15", "sd21", "sdxl"])
def test_a_request_gets_the_same_picture_alone_and_in_a_batch(
    name: str,
    benches: Callable[[str], tuple[ModelBench, Model]],
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    context: ScriptedContext,
) -> None:
    """I22: what others ask for in the same batch leaves no trace."""
    wishes: list[dict[str, Json]] = [
        {"prompt": "a cat", "seed": 1},
        {"prompt": "a dog", "seed": 2, "negative_prompt": "fur"},
        {"prompt": "", "seed": 1},
        {"prompt": "a cat", "seed": 1, "steps": 2},  # does not fit: a run of its own
    ]
    alone = [run(benches(name), scene, context, wish)[0] for wish in wishes]

    together = run(benches(name), scene, context, *wishes)

    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    assert not np.array_equal(alone[0], alone[1])
    assert not np.array_equal(alone[0], alone[2])


@pytest.mark.parametrize("sampler", ["PNDM", "Heun", "DPM2 a", "UniPC"])
def test_progress_ends_at_its_total_whatever_the_sampler_calls_a_step(
    sampler: str,
    benches: Callable[[str], tuple[ModelBench, Model]],
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    context: ScriptedContext,
) -> None:
    run(benches("sd15"), scene, context, {"sampler": sampler, "preview_every": 2, "steps": 4})

    assert [step for step, _ in context.steps] == list(range(1, len(context.steps) + 1))
    assert {total for _, total in context.steps} == {context.steps[-1][0]}
    assert context.previews
    assert context.previews[0].shape == (64, 64, 3)
    assert context.previews[0].dtype == np.uint8


def test_a_cancel_is_heeded_within_a_step_and_the_model_works_on(
    benches: Callable[[str], tuple[ModelBench, Model]],
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    tmp_path: Path,
    context: ScriptedContext,
) -> None:
    before = run(benches("sd15"), scene, context, {})
    leaving = ScriptedContext(scratch=tmp_path, cancel_after=2)

    with pytest.raises(Cancelled):
        run(benches("sd15"), scene, leaving, {"steps": 30})

    assert len(leaving.steps) <= 3
    assert np.array_equal(run(benches("sd15"), scene, context, {})[0], before[0])


def test_a_picture_is_extended(
    benches: Callable[[str], tuple[ModelBench, Model]],
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    context: ScriptedContext,
) -> None:
    image, mask = scene
    nothing = np.zeros_like(mask)

    (result,) = run(benches("sd15"), (image, nothing), context, {"extend_right": 64})

    assert result.shape == (200, 320, 3)
    assert np.array_equal(result[:, :256], image)


def test_too_few_steps_for_the_strength_are_the_clients_error(
    benches: Callable[[str], tuple[ModelBench, Model]],
    scene: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    context: ScriptedContext,
) -> None:
    with pytest.raises(ModelError) as caught:
        run(benches("sdxl"), scene, context, {"steps": 1, "strength": 0.3})

    assert caught.value.code == "invalid_option"
    assert not caught.value.retryable


def test_weights_that_may_hold_code_are_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.ckpt"
    checkpoint.write_bytes(b"\x80\x04")

    with pytest.raises(ModelError, match="safetensors"):
        model_bench(SD15, WeightsConfig(paths={"sd15-inpainting": str(checkpoint)}))
