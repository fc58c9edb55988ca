"""Stable Diffusion 1.5, 2.1 and XL: inpainting and outpainting from words.

Memory and times are estimates from the models' sizes (``diffusion/memory.py``); the first
measurement in a worker replaces the times.
"""

import json
from collections.abc import Callable

from paintmq.errors import InvalidInputError
from paintmq.model import InputSpec, Job, ModelSpec, Needs, WeightFile
from paintmq.units import MIB
from paintmq_plugins.diffusion.memory import LEAST_SIDE, SIZES, Size, check_canvas
from paintmq_plugins.diffusion.options import DiffusionOptions

_PARTS = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "*/*.model",
    "*/*.safetensors",
    "!*.fp16.*",
    "!*non_ema*",
    "!safety_checker/*",
)
"""Of a pipeline's repository: no pickles, and each network once, in full precision."""

_INPUTS = (
    InputSpec(name="image", summary="the picture, 8 or 16 bits, with or without alpha"),
    InputSpec(
        name="mask",
        kind="mask",
        required=False,
        summary="white where the picture is to be painted; may be left out to extend it alone",
    ),
)


def canvas_pixels(job: Job, size: Size) -> int:
    """Return how many pixels are painted on at once, as far as the input's size tells."""
    options: DiffusionOptions = job.options
    image = next((item for item in job.inputs if item.name == "image"), None)
    if options.crop or image is None or not image.width:
        return size.native_pixels
    width = image.width + options.extend_left + options.extend_right
    height = image.height + options.extend_top + options.extend_bottom
    return max(LEAST_SIDE**2, int(width * height * options.scale**2))


def mask_missing(model: str) -> InvalidInputError:
    """Return the error for a task that says nowhere what is to be painted."""
    return InvalidInputError(
        f"model {model} needs input 'mask' (white where the picture is to be painted), unless an"
        " option such as extend_left asks for more of the picture"
    )


def _needs(name: str, size: Size) -> Callable[[Job], Needs]:
    def needs(job: Job) -> Needs:
        given = {item.name for item in job.inputs}
        if given and "mask" not in given and not job.options.extends:
            raise mask_missing(name)  # before anything is loaded for it
        pixels = canvas_pixels(job, size)
        check_canvas(pixels)
        if job.device == "cuda":
            # With less than all of it the model still runs, by turns; see memory_plan.
            return Needs(gpu_memory_mb=size.least_mb(pixels), memory_mb=size.weights_mb + 2048)
        return Needs(memory_mb=size.cpu_mb(pixels))

    return needs


def _run_seconds(size: Size) -> Callable[[Job], float]:
    def run_seconds(job: Job) -> float:
        options: DiffusionOptions = job.options
        pixels = canvas_pixels(job, size)
        seconds = 0.2 + options.steps_run * size.step_seconds * pixels / MIB
        return seconds if job.device == "cuda" else seconds * size.cpu_factor

    return run_seconds


def batch_key(job: Job) -> str:
    """Requests with one key fit into one run: the same canvas, steps, guidance and sampler.

    The size of a cropped canvas is known only once the mask is decoded, so a cropped request keeps
    to requests with the same mask.
    """
    options: DiffusionOptions = job.options
    sizes = [(item.width, item.height) for item in job.inputs if item.name == "image"]
    masks = [item.digest for item in job.inputs if item.name == "mask" and options.crop]
    extension = (
        options.extend_left,
        options.extend_right,
        options.extend_top,
        options.extend_bottom,
    )
    shared = (options.steps, options.guidance_scale, options.strength, options.sampler)
    return json.dumps([sizes, masks, options.scale, options.crop_margin, extension, shared])


def _spec(name: str, summary: str, licence: str, hub: str) -> ModelSpec:
    size, folder = SIZES[name], f"{name}-inpainting"
    return ModelSpec(
        name=name,
        implementation="paintmq_plugins.diffusion.model:DiffusionInpainting",
        summary=summary,
        licence=licence,
        options=DiffusionOptions,
        inputs=_INPUTS,
        devices=("cuda", "cpu"),
        effort="intensive",
        needs=_needs(name, size),
        load_seconds=8.0,
        run_seconds=_run_seconds(size),
        resident_mb=size.weights_mb,
        run_limit=1800.0,
        stall_limit=600.0,
        load_limit=900.0,
        max_batch=4,
        batch_key=batch_key,
        requires=("torch", "diffusers", "transformers", "safetensors"),
        extra="paintmq[diffusion]",
        weights=(
            WeightFile(
                name=folder,
                licence=licence,
                source=f"{hub} on the Hugging Face hub;"
                " a single .safetensors file named in [weights.paths] does too",
                repository=hub,
                parts=_PARTS,
            ),
        ),
    )


SD15 = _spec(
    "sd15",
    "Inpainting by Stable Diffusion 1.5: from words, 512 pixels",
    "CreativeML Open RAIL-M",
    "stable-diffusion-v1-5/stable-diffusion-inpainting",
)
SD21 = _spec(
    "sd21",
    "Inpainting by Stable Diffusion 2: from words, 512 pixels",
    "CreativeML Open RAIL++-M",
    "sd2-community/stable-diffusion-2-inpainting",
)
SDXL = _spec(
    "sdxl",
    "Inpainting by Stable Diffusion XL: from words, 1024 pixels",
    "CreativeML Open RAIL++-M",
    "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
)


def paintmq_register_models(register: Callable[[ModelSpec], None]) -> None:
    for spec in (SD15, SD21, SDXL):
        register(spec)
