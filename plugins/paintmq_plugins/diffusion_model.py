"""The diffusion models: diffusers' inpainting pipelines between our canvas and our context."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from diffusers import (
    AutoPipelineForInpainting,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
)
from numpy.typing import NDArray
from PIL import Image

from paintmq.errors import ModelError
from paintmq.model import Device, Model, Outputs, Request, RunContext
from paintmq_plugins.diffusion import SIZES
from paintmq_plugins.diffusion_memory import memory_plan
from paintmq_plugins.diffusion_options import DiffusionOptions
from paintmq_plugins.diffusion_samplers import make_scheduler
from paintmq_plugins.imaging.canvas import Canvas
from paintmq_plugins.torch_weights import set_up_torch

# Rough colours of latent channels, RGB a row, for previews without the decoder. Source: the linear
# fits that the Stable Diffusion community shares (Birch-san for 1.x, ComfyUI for XL).
_LATENT_COLOURS = {
    False: [
        [0.298, 0.207, 0.208],
        [0.187, 0.286, 0.173],
        [-0.158, 0.189, 0.264],
        [-0.184, -0.271, -0.473],
    ],
    True: [
        [0.3920, 0.4054, 0.4549],
        [-0.2634, -0.0196, 0.0653],
        [0.0568, 0.1687, -0.0755],
        [-0.3112, -0.2359, -0.2076],
    ],
}


@frozen(eq=False)
class _Job:
    """One request of a batch, and its place in it."""

    index: int
    options: DiffusionOptions
    canvas: Canvas


class DiffusionInpainting(Model):
    """sd15, sd21 and sdxl. Requests that fit into one run of the pipeline share it."""

    _pipe: Any

    def load(self, device: Device) -> None:
        self._device = set_up_torch(device)
        half = device.kind == "cuda"
        path = self.weights.path(self.spec.weights[0].name)
        pipe = _load_pipeline(
            path,
            xl=self.spec.name == "sdxl",
            dtype=torch.float16 if half else torch.float32,
        )
        pipe.set_progress_bar_config(disable=True)
        self._is_xl = isinstance(pipe, StableDiffusionXLInpaintPipeline)
        self._scheduler_config: Mapping[str, Any] = dict(pipe.scheduler.config)
        self._offloads = False
        if half:
            self._place(pipe)
        self._pipe = pipe

    def _place(self, pipe: Any) -> None:
        """Lay the model out on the GPU as its free memory allows."""
        size = SIZES[self.spec.name]
        free_mb = torch.cuda.mem_get_info(self._device)[0] // 2**20
        plan = memory_plan(free_mb, size, size.native_pixels * self.spec.max_batch)
        if plan.tiled_decoder:
            pipe.vae.enable_tiling()
            pipe.vae.enable_slicing()
        if plan.weights == "offload":
            pipe.enable_model_cpu_offload(device=self._device)
            self._offloads = True
        else:
            pipe.to(self._device)

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        jobs = [
            _Job(
                index,
                request.options,
                Canvas.prepare(request.inputs["image"], request.inputs["mask"], request.options),
            )
            for index, request in enumerate(batch)
        ]
        results: list[Outputs] = [{} for _ in jobs]
        groups = _groups(jobs)
        for number, group in enumerate(groups):
            painted = self._paint(group, context, number, len(groups))
            for job, pixels in zip(group, painted, strict=True):
                results[job.index] = {"image": job.canvas.finish(pixels)}
        return results

    def _paint(
        self, jobs: Sequence[_Job], context: RunContext, group: int, groups: int
    ) -> list[NDArray[np.uint8]]:
        """Run the pipeline once for all these jobs; each has its own seed, so none sees another."""
        options = jobs[0].options
        height, width = jobs[0].canvas.mask.shape
        strength = 1.0 if options.extends else options.strength
        if self._is_xl:
            # At exactly 1 the pipeline starts from pure noise, for which XL was not trained.
            strength = min(strength, 0.999)
        pipe = self._pipe
        pipe.scheduler = make_scheduler(options.sampler, self._scheduler_config)

        def step_ended(_: Any, index: int, timestep: Any, state: dict[str, Any]) -> dict[str, Any]:
            context.raise_if_cancelled()
            total = int(pipe.num_timesteps)
            preview = None
            if options.preview_every and (index + 1) % options.preview_every == 0:
                preview = self._preview(state["latents"][0])
            context.progress(group * total + index + 1, groups * total, preview)
            return state

        context.raise_if_cancelled()
        try:
            with torch.inference_mode():
                images = pipe(
                    prompt=[job.options.prompt for job in jobs],
                    # XL treats no negative prompt otherwise than an empty one; requests of one
                    # batch must not depend on who came along.
                    negative_prompt=[job.options.negative_prompt for job in jobs],
                    image=[Image.fromarray(job.canvas.picture) for job in jobs],
                    mask_image=[Image.fromarray(job.canvas.mask) for job in jobs],
                    height=height,
                    width=width,
                    num_inference_steps=options.steps,
                    guidance_scale=options.guidance_scale,
                    strength=strength,
                    generator=[
                        torch.Generator("cpu").manual_seed(job.options.seed) for job in jobs
                    ],
                    callback_on_step_end=step_ended,
                    output_type="np",
                ).images
        except ValueError as error:
            # Too few steps for the strength or the sampler: the client's to mend.
            raise ModelError(str(error), code="invalid_option") from error
        finally:
            if self._offloads:
                pipe.maybe_free_model_hooks()
        return [np.rint(image * 255).astype(np.uint8) for image in images]

    def _preview(self, latents: torch.Tensor) -> NDArray[np.uint8]:
        """Return a rough picture, an eighth of the canvas, uint8 RGB."""
        colours = torch.tensor(
            _LATENT_COLOURS[self._is_xl], dtype=latents.dtype, device=latents.device
        )
        rgb = torch.einsum("chw,cr->hwr", latents, colours)
        levels = ((rgb + 1) * 127.5).clamp(0, 255).to(torch.uint8)
        preview: NDArray[np.uint8] = levels.cpu().numpy()
        return preview

    def unload(self) -> None:
        del self._pipe
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _groups(jobs: Sequence[_Job]) -> list[list[_Job]]:
    """Split a batch into runs: one canvas size and one way of denoising each."""
    groups: dict[object, list[_Job]] = {}
    for job in jobs:
        o = job.options
        # Everything but words, seeds and what happens outside the pipeline must agree.
        key = (job.canvas.mask.shape, o.steps, o.guidance_scale, o.strength, o.sampler, o.extends)
        groups.setdefault(key, []).append(job)
    return list(groups.values())


def _load_pipeline(path: Path, *, xl: bool, dtype: torch.dtype) -> Any:
    """Load a folder in diffusers' layout, or a single file; never from the network.

    Raises:
        ModelError: it is neither.
    """
    try:
        if path.is_dir():
            return AutoPipelineForInpainting.from_pretrained(
                path, dtype=dtype, local_files_only=True, use_safetensors=True, **_plain(path)
            )
        if path.suffix != ".safetensors":
            raise ModelError(
                f"the weights {path.name} are neither a folder nor a .safetensors file; "
                f"other formats can hold code",
                code="weights_unreadable",
            )
        # Its settings come from a folder of the same name beside it, if there is one.
        beside = path.with_suffix("")
        config = {"config": str(beside)} if beside.is_dir() else {}
        cls = StableDiffusionXLInpaintPipeline if xl else StableDiffusionInpaintPipeline
        return cls.from_single_file(str(path), dtype=dtype, local_files_only=True, **config)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"the weights {path.name} cannot be loaded by diffusers: {type(error).__name__}",
            code="weights_unreadable",
        ) from error


def _plain(path: Path) -> dict[str, Any]:
    """Leave the safety checker out where a pipeline has one.

    What to do with what it finds is for whoever publishes the pictures to decide.
    """
    index = path / "model_index.json"
    has_checker = index.is_file() and '"safety_checker"' in index.read_text()
    return {"safety_checker": None, "requires_safety_checker": False} if has_checker else {}
