"""The diffusion models beside IOPaint's classes and the bare pipeline, on tiny random weights.

IOPaint runs the same diffusers underneath, so a match proves padding, arguments, seeds, samplers,
cropping, extending and the way back into the picture, not the networks.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from paintmq_plugins.diffusion.options import SAMPLER_NAMES, DiffusionOptions
from paintmq_plugins.imaging.canvas import surroundings

pytestmark = [
    pytest.mark.reference,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # of the oracle and of schedulers
]

FAMILIES = ("sd15", "sd21", "sdxl")
Pixels = NDArray[np.uint8]
Oracle = Callable[..., Pixels]


@pytest.fixture(scope="module")
def theirs(iopaint: Callable[[str], Any], pipelines: Mapping[str, Path]) -> Oracle:
    """Return a function that paints as IOPaint does."""
    import torch

    schema = iopaint("schema")
    made: dict[str, Any] = {}

    def model(family: str) -> Any:
        kinds = schema.ModelType
        xl = family == "sdxl"
        info = schema.ModelInfo(
            name="tiny",
            path=str(pipelines[family]),
            model_type=kinds.DIFFUSERS_SDXL_INPAINT if xl else kinds.DIFFUSERS_SD_INPAINT,
        )
        parts = {}
        if xl:  # else it would fetch another decoder
            from diffusers import AutoencoderKL

            parts["vae"] = AutoencoderKL.from_pretrained(pipelines[family], subfolder="vae")
        cls = iopaint("model.sdxl").SDXL if xl else iopaint("model.sd").SD
        return cls(
            "cpu",
            no_half=True,
            low_mem=False,
            cpu_offload=False,
            disable_nsfw=True,
            sd_cpu_textencoder=False,
            local_files_only=True,
            model_info=info,
            pipe_components=parts,
        )

    def paint(family: str, image: Pixels, mask: Pixels, **request: Any) -> Pixels:
        if family not in made:
            made[family] = model(family)
            torch.set_num_threads(1)  # it wants four
        wish = schema.InpaintRequest(**{"sd_steps": 3, "sd_seed": 42} | request)
        result = made[family](image, mask, wish)
        picture: Pixels = np.clip(result, 0, 255).astype(np.uint8)[:, :, ::-1]
        return picture

    return paint


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_every_sampler_paints_as_iopaints(
    family: str, sampler: str, theirs: Oracle, paint: Any, scene: Any
) -> None:
    # XL's own settings have PNDM start with Runge-Kutta steps, of which there must be enough.
    steps = 5 if (family, sampler) == ("sdxl", "PNDM") else 3

    (ours,) = paint(
        family, scene, {"sampler": sampler, "prompt": "a cat", "seed": 7, "steps": steps}
    )
    expected = theirs(
        family, scene.image, scene.mask, prompt="a cat", sd_seed=7, sd_sampler=sampler,
        sd_steps=steps, sd_mask_blur=11,
    )  # fmt: skip

    # Beyond the mask, only IOPaint's blur changes anything.
    inside = scene.mask > 0
    assert np.array_equal(ours[inside], expected[inside])
    assert np.array_equal(ours[~inside], scene.image[~inside])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strength", [0.4, 0.75, 0.999])
def test_every_strength_paints_as_iopaints(
    family: str, strength: float, theirs: Oracle, paint: Any, scene: Any
) -> None:
    (ours,) = paint(family, scene, {"strength": strength, "steps": 6, "sampler": "Euler"})

    expected = theirs(
        family, scene.image, scene.mask, sd_strength=strength, sd_steps=6, sd_sampler="Euler",
        sd_mask_blur=11,
    )  # fmt: skip

    inside = scene.mask > 0
    assert np.array_equal(ours[inside], expected[inside])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("seed", "guidance", "negative"), [(0, 1.0, "fur"), (2**31, 20.0, "")])
def test_seeds_guidance_and_negative_prompts_paint_as_iopaints(
    family: str, seed: int, guidance: float, negative: str, theirs: Oracle, paint: Any, scene: Any
) -> None:
    wish = {"seed": seed, "guidance_scale": guidance, "negative_prompt": negative, "mask_blur": 0}

    (ours,) = paint(family, scene, wish)
    expected = theirs(
        family, scene.image, scene.mask, sd_seed=seed, sd_guidance_scale=guidance,
        negative_prompt=negative, sd_mask_blur=0, sd_sampler="UniPC",
    )  # fmt: skip

    assert np.array_equal(ours, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_crop_paints_as_iopaints_cropper_does_on_the_same_part(
    family: str, theirs: Oracle, paint: Any, photograph: Any, make_scene: Any
) -> None:
    image = photograph("astronaut", (700, 612))
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[430:500, 500:590] = 255
    box = surroundings(mask, DiffusionOptions().crop_margin)

    (ours,) = paint(family, make_scene(image, mask), {"crop": True})
    expected = theirs(
        family, image.copy(), mask, use_croper=True, croper_x=box.left, croper_y=box.top,
        croper_width=box.right - box.left, croper_height=box.bottom - box.top, sd_mask_blur=11,
        sd_sampler="UniPC",
    )  # fmt: skip

    assert np.array_equal(ours[mask > 0], expected[mask > 0])
    assert np.array_equal(ours[mask == 0], image[mask == 0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("left", "top", "right", "bottom"), [(64, 0, 0, 0), (0, 40, 8, 0), (16, 16, 16, 16)]
)
def test_a_picture_is_extended_as_by_iopaints_extender(
    family: str, left: int, top: int, right: int, bottom: int,
    theirs: Oracle, paint: Any, scene: Any, make_scene: Any,
) -> None:  # fmt: skip
    sides = {"left": left, "top": top, "right": right, "bottom": bottom}
    wish = {f"extend_{side}": pixels for side, pixels in sides.items()} | {"mask_blur": 0}
    height, width = scene.image.shape[:2]

    (ours,) = paint(family, make_scene(scene.image), wish)
    expected = theirs(
        family, scene.image, scene.mask, use_extender=True, extender_x=-left, extender_y=-top,
        extender_width=width + left + right, extender_height=height + top + bottom,
        sd_mask_blur=0, sd_sampler="UniPC",
    )  # fmt: skip

    assert np.array_equal(ours, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_paints_what_the_bare_pipeline_paints(
    family: str, pipelines: Mapping[str, Path], paint: Any, photograph: Any, make_scene: Any
) -> None:
    import torch
    from diffusers import AutoPipelineForInpainting, DDIMScheduler
    from PIL import Image

    image, mask = photograph("astronaut", (512, 512)), np.zeros((512, 512), np.uint8)
    mask[100:300, 150:400] = 255
    pipe = AutoPipelineForInpainting.from_pretrained(pipelines[family], local_files_only=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)

    (ours,) = paint(family, make_scene(image, mask), {"mask_blur": 0, "sampler": "DDIM", "seed": 3})
    painted = pipe(
        prompt="",
        negative_prompt="",
        image=Image.fromarray(image),
        mask_image=Image.fromarray(mask),
        height=512,
        width=512,
        num_inference_steps=3,
        guidance_scale=7.5,
        strength=0.999 if family == "sdxl" else 1.0,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).images[0]

    assert np.array_equal(ours[mask > 0], np.rint(painted * 255).astype(np.uint8)[mask > 0])
