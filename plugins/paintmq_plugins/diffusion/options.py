"""Options of the diffusion models; light, as the broker checks them."""

from math import ceil
from typing import Literal, get_args

from attrs import field, frozen, validators

SamplerName = Literal[
    "DPM++ 2M",
    "DPM++ 2M Karras",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Karras",
    "DPM++ SDE",
    "DPM++ SDE Karras",
    "DPM2",
    "DPM2 Karras",
    "DPM2 a",
    "DPM2 a Karras",
    "Euler",
    "Euler a",
    "Heun",
    "LMS",
    "LMS Karras",
    "DDIM",
    "PNDM",
    "UniPC",
    "LCM",
]
SAMPLER_NAMES: tuple[str, ...] = get_args(SamplerName)

_MOST_EXTENSION = 4096
_MOST_LCM_STEPS = 50
"""The steps of the model that a latent consistency model learnt from."""


def _extension(side: str) -> int:
    extension: int = field(
        default=0,
        validator=[validators.ge(0), validators.le(_MOST_EXTENSION)],
        metadata={"help": f"pixels to paint beyond the picture's {side} (outpainting)"},
    )
    return extension


@frozen(kw_only=True)
class DiffusionOptions:
    """What to paint, how carefully, and on which part of the picture."""

    prompt: str = field(
        default="",
        metadata={"help": "what to paint, in 75 tokens (some 50 words) at most; empty: what fits"},
    )
    negative_prompt: str = field(
        default="", metadata={"help": "what not to paint; as long at most"}
    )
    steps: int = field(
        default=50,
        validator=[validators.ge(1), validators.le(500)],
        metadata={"help": "denoising steps"},
    )
    guidance_scale: float = field(
        default=7.5,
        validator=[validators.ge(0), validators.le(50)],
        metadata={"help": "how closely the prompt is followed; 1 and below: not guided"},
    )
    strength: float = field(
        default=1.0,
        validator=[validators.gt(0), validators.le(1)],
        metadata={"help": "how much of what is under the mask may go; 1: all of it"},
    )
    seed: int = field(
        default=42,
        validator=[validators.ge(-1), validators.lt(2**63)],
        metadata={
            "help": "the same seed and options give the same picture; -1: one that is drawn from"
            " picture and options, and told with the result"
        },
    )
    sampler: SamplerName = field(default="UniPC", metadata={"help": "the denoising method"})
    mask_blur: int = field(
        default=11,
        validator=[validators.ge(0), validators.le(128)],
        metadata={"help": "pixels over which what was painted fades in, inside the mask"},
    )
    crop: bool = field(
        default=False, metadata={"help": "paint on the masked region's surroundings alone"}
    )
    crop_margin: int = field(
        default=128,
        validator=[validators.ge(0), validators.le(4096)],
        metadata={"help": "pixels around the masked region that are looked at when cropping"},
    )
    scale: float = field(
        default=1.0,
        validator=[validators.gt(0), validators.le(1)],
        metadata={"help": "paint on a copy smaller by this factor"},
    )
    extend_left: int = _extension("left edge")
    extend_right: int = _extension("right edge")
    extend_top: int = _extension("top edge")
    extend_bottom: int = _extension("bottom edge")
    preview_every: int = field(
        default=0,
        validator=[validators.ge(0), validators.le(500)],
        metadata={"help": "steps between two rough previews; 0: none"},
    )

    def __attrs_post_init__(self) -> None:
        if self.steps_run < 1:
            raise ValueError(
                f"steps {self.steps} at strength {self.strength:g} leave none to run;"
                f" at that strength, steps must be at least {ceil(1 / self.strength)}"
            )
        if self.sampler == "LCM" and self.steps > _MOST_LCM_STEPS:
            raise ValueError(
                f"sampler LCM was trained for {_MOST_LCM_STEPS} steps at most, and steps is"
                f" {self.steps}; 4 to 8 are usual"
            )

    @property
    def steps_run(self) -> int:
        """How many of the steps are run: the strength leaves the first ones out."""
        return self.steps if self.extends else int(self.steps * self.strength)

    @property
    def extends(self) -> bool:
        """Whether the result is larger than the picture."""
        return bool(self.extend_left or self.extend_right or self.extend_top or self.extend_bottom)
