"""The diffusion models: diffusers' inpainting pipelines between our canvas and our context."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image

from paintmq.errors import ModelError
from paintmq.model import Device, Model, Outputs, Request, RunContext
from paintmq_plugins.diffusion import mask_missing
from paintmq_plugins.diffusion.loading import load_pipeline
from paintmq_plugins.diffusion.memory import SIZES, TILE_SIDE, MemoryPlan, memory_plan
from paintmq_plugins.diffusion.options import DiffusionOptions
from paintmq_plugins.diffusion.prompt import check_prompt
from paintmq_plugins.diffusion.samplers import make_scheduler
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


_NOTHING_TO_PAINT = b"the mask covers nothing, so the picture is as it was"


@frozen(eq=False)
class _Job:
    """One request of a batch, and its place in it."""

    index: int
    options: DiffusionOptions
    seed: int
    canvas: Canvas


class DiffusionInpainting(Model):
    """sd15, sd21 and sdxl. Requests that fit into one run of the pipeline share it."""

    _pipe: Any
    _plan: MemoryPlan | None = None
    """None on a CPU."""

    def load(self, device: Device) -> None:
        self._device = set_up_torch(device)
        half = device.kind == "cuda"
        path = self.weights.path(self.spec.weights[0].name)
        pipe = load_pipeline(path, self.spec, torch.float16 if half else torch.float32)
        pipe.set_progress_bar_config(disable=True)
        self._is_xl = self.spec.name == "sdxl"
        self._scheduler_config: Mapping[str, Any] = dict(pipe.scheduler.config)
        if half:
            self._place(pipe)
        self._pipe = pipe

    def _place(self, pipe: Any) -> None:
        """Lay the model out on the GPU as its free memory allows."""
        free_mb = torch.cuda.mem_get_info(self._device)[0] // 2**20
        plan = memory_plan(free_mb, SIZES[self.spec.name])
        logging.getLogger(f"paintmq.models.{self.spec.name}").info(
            "%s: %d MB of GPU memory are free: %s", self.spec.name, free_mb, plan
        )
        pipe.vae.enable_slicing()
        pipe.vae.tile_sample_min_size = TILE_SIDE
        pipe.vae.tile_latent_min_size = TILE_SIDE // 8
        if plan.weights == "offload":
            pipe.enable_model_cpu_offload(device=self._device)
        else:
            pipe.to(self._device)
        self._plan = plan

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        results: list[Outputs] = [{} for _ in batch]
        jobs: list[_Job] = []
        for index, request in enumerate(batch):
            if self._is_nothing_to_paint(request):
                results[index] = {"image": request.inputs["image"], "note": _NOTHING_TO_PAINT}
            else:
                jobs.append(self._prepare(index, request))
        groups = _groups(jobs, self._plan)
        steps = 0
        for number, group in enumerate(groups):
            painted, steps = self._paint(group, context, steps, len(groups) - number)
            for job, pixels in zip(group, painted, strict=True):
                results[job.index] = {"image": job.canvas.finish(pixels), **_seed_note(job)}
        if not groups:
            context.progress(1, 1)
        return results

    def _is_nothing_to_paint(self, request: Request) -> bool:
        """Return whether the mask covers nothing, and nothing is added.

        Raises:
            InvalidInputError: there is no mask, nor is there anything to add.
        """
        if request.options.extends:
            return False
        mask = request.inputs.get("mask")
        if mask is None:
            raise mask_missing(self.spec.name)
        return not mask.any()

    def _prepare(self, index: int, request: Request) -> _Job:
        options: DiffusionOptions = request.options
        check_prompt(options.prompt, "prompt", self._pipe.tokenizer)
        check_prompt(options.negative_prompt, "negative_prompt", self._pipe.tokenizer)
        image, mask = request.inputs["image"], request.inputs.get("mask")
        if mask is None:
            mask = np.zeros(image.shape[:2], np.uint8)
        return _Job(index, options, request.seed, Canvas.prepare(image, mask, options))

    def _paint(
        self, jobs: Sequence[_Job], context: RunContext, before: int, runs: int
    ) -> tuple[list[NDArray[np.uint8]], int]:
        """Run the pipeline once for all these jobs; each has its own seed, so none sees another.

        ``before`` is how many steps there have been, ``runs`` how many runs are left. Returns the
        canvases, and how many steps there have been now.
        """
        options = jobs[0].options
        pipe = self._pipe
        pipe.scheduler = make_scheduler(options.sampler, self._scheduler_config)
        steps = before

        def step_ended(_: Any, index: int, timestep: Any, state: dict[str, Any]) -> dict[str, Any]:
            nonlocal steps
            context.raise_if_cancelled()
            preview = None
            if options.preview_every and (index + 1) % options.preview_every == 0:
                preview = self._preview(state["latents"][0], jobs[0].canvas.size)
            steps = before + index + 1
            context.progress(steps, before + runs * int(pipe.num_timesteps), preview)
            return state

        context.raise_if_cancelled()
        try:
            with torch.inference_mode():
                images = pipe(
                    **self._arguments(jobs), callback_on_step_end=step_ended, output_type="np"
                ).images
        except ValueError as error:
            # Too few steps for the sampler, say: the client's to mend.
            raise ModelError(
                f"sampler {options.sampler}, steps {options.steps} and strength"
                f" {options.strength:g} do not go together: {error}",
                code="invalid_option",
            ) from error
        finally:
            if self._plan is not None and self._plan.weights == "offload":
                pipe.maybe_free_model_hooks()
        if not np.isfinite(images).all():
            raise ModelError(
                "the model computed no colours but NaN: its image decoder overflows in half"
                " precision; use weights whose vae/config.json says force_upcast",
                code="not_a_number",
            )
        return [np.rint(image * 255).astype(np.uint8) for image in images], steps

    def _arguments(self, jobs: Sequence[_Job]) -> dict[str, Any]:
        options = jobs[0].options
        height, width = jobs[0].canvas.mask.shape
        if self._plan is not None:
            self._pipe.vae.use_tiling = height * width > self._plan.whole_pixels
        strength = 1.0 if options.extends else options.strength
        if self._is_xl and options.steps > 1:
            # At exactly 1 the pipeline starts from pure noise, for which XL was not trained.
            strength = min(strength, 0.999)
        return {
            "prompt": [job.options.prompt for job in jobs],
            # XL treats no negative prompt otherwise than an empty one; requests of one batch must
            # not depend on who came along.
            "negative_prompt": [job.options.negative_prompt for job in jobs],
            "image": [Image.fromarray(job.canvas.picture) for job in jobs],
            "mask_image": [Image.fromarray(job.canvas.mask) for job in jobs],
            "height": height,
            "width": width,
            "num_inference_steps": options.steps,
            "guidance_scale": options.guidance_scale,
            "strength": strength,
            "generator": [torch.Generator("cpu").manual_seed(job.seed) for job in jobs],
        }

    def _preview(self, latents: torch.Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return a rough picture, an eighth of a canvas of this height and width, uint8 RGB."""
        colours = torch.tensor(
            _LATENT_COLOURS[self._is_xl], dtype=latents.dtype, device=latents.device
        )
        rgb = torch.einsum("chw,cr->hwr", latents, colours)
        levels = ((rgb + 1) * 127.5).clamp(0, 255).to(torch.uint8)
        preview: NDArray[np.uint8] = levels.cpu().numpy()
        return preview[: -(-size[0] // 8), : -(-size[1] // 8)]

    def resident_mb(self) -> int:
        if self._plan is not None and self._plan.weights == "offload":
            return SIZES[self.spec.name].largest_part_mb
        return super().resident_mb()

    def unload(self) -> None:
        del self._pipe
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _seed_note(job: _Job) -> Mapping[str, bytes]:
    """Tell the seed to whoever left it open, so that the picture can be had again."""
    return {"note": f"seed {job.seed}".encode()} if job.options.seed < 0 else {}


def _groups(jobs: Sequence[_Job], plan: MemoryPlan | None) -> list[list[_Job]]:
    """Split a batch into runs: one size of canvas, one way of denoising, and room for all in it."""
    groups: dict[object, list[_Job]] = {}
    for job in jobs:
        o = job.options
        # Everything but words, seeds and what happens outside the pipeline must agree.
        key = (job.canvas.mask.shape, o.steps, o.guidance_scale, o.strength, o.sampler, o.extends)
        groups.setdefault(key, []).append(job)
    runs: list[list[_Job]] = []
    for group in groups.values():
        most = plan.requests_at_once(group[0].canvas.mask.size) if plan else len(group)
        runs += [group[first : first + most] for first in range(0, len(group), most)]
    return runs
