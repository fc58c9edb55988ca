"""A model that paints from words, as diffusion models do, without weights: for tests of APIs.

It paints one colour that its seed gives, in steps that show previews.
"""

import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import field, frozen, validators

from paintmq.hookspecs import RegisterModel
from paintmq.model import Device, InputSpec, Model, ModelSpec, Outputs, Request, RunContext


@frozen(kw_only=True)
class WordsOptions:
    """What a diffusion model is told."""

    prompt: str = ""
    negative_prompt: str = ""
    steps: int = field(default=4, validator=[validators.ge(1), validators.le(500)])
    guidance_scale: float = 7.5
    strength: float = field(default=1.0, validator=[validators.gt(0), validators.le(1)])
    seed: int = 42
    sampler: Literal["UniPC", "Euler a", "DPM++ 2M", "DPM++ 2M Karras"] = "UniPC"
    mask_blur: int = 0
    preview_every: int = 0
    step_seconds: float = 0.0
    """How long a step takes."""


@frozen(kw_only=True)
class SlowWordsOptions(WordsOptions):
    """The same, for clients that cannot say how slow a step is."""

    step_seconds: float = 0.05


def colour_of(seed: int) -> tuple[int, int, int]:
    return seed % 251, seed // 251 % 251, 200


class Words(Model):
    """Fills the mask with the colour of the seed."""

    def load(self, device: Device) -> None:
        self.device = device

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        return [self._paint(request, context) for request in batch]

    def _paint(self, request: Request, context: RunContext) -> Outputs:
        options: WordsOptions = request.options
        image = np.array(request.inputs["image"])
        image[request.inputs["mask"] > 127, :3] = colour_of(options.seed)
        for step in range(1, options.steps + 1):
            context.raise_if_cancelled()
            shown = options.preview_every and step % options.preview_every == 0
            context.progress(step, options.steps, image[:, :, :3] if shown else None)
            time.sleep(options.step_seconds)
        return {"image": image}


@frozen(kw_only=True)
class SeekerOptions:
    """What a remover of backgrounds is told."""

    output: Literal["cutout", "mask"] = "cutout"


class Seeker(Model):
    """Finds the left half of any picture in front."""

    def load(self, device: Device) -> None:
        self.device = device

    def run(self, batch: Sequence[Request], context: RunContext) -> Sequence[Outputs]:
        return [self._seek(request) for request in batch]

    def _seek(self, request: Request) -> Outputs:
        image = np.asarray(request.inputs["image"])
        found = np.zeros(image.shape[:2], np.uint8)
        found[:, : image.shape[1] // 2] = 255
        if request.options.output == "mask":
            return {"image": found}
        return {"image": np.dstack([image[:, :, :3], found])}


def paintmq_register_models(register: RegisterModel) -> None:
    register(
        ModelSpec(
            name="seeker",
            implementation="tests.harness.words_model:Seeker",
            task_types=("plugin",),
            options=SeekerOptions,
            inputs=(InputSpec(name="image"),),
        )
    )
    for name, options in (("words", WordsOptions), ("slow-words", SlowWordsOptions)):
        register(
            ModelSpec(
                name=name,
                implementation="tests.harness.words_model:Words",
                options=options,
                inputs=(InputSpec(name="image"), InputSpec(name="mask", kind="mask")),
                stall_limit=30.0,
            )
        )
