"""The samplers by the names people know them by, as diffusers' schedulers."""

from collections.abc import Mapping
from typing import Any

import diffusers

_KARRAS: Mapping[str, Any] = {"use_karras_sigmas": True}
_SDE: Mapping[str, Any] = {"algorithm_type": "sde-dpmsolver++"}

# Scheduler class and what it is given beside the model's own settings.
_SAMPLERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", _KARRAS),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", _SDE),
    "DPM++ 2M SDE Karras": ("DPMSolverMultistepScheduler", {**_KARRAS, **_SDE}),
    "DPM++ SDE": ("DPMSolverSinglestepScheduler", {}),
    "DPM++ SDE Karras": ("DPMSolverSinglestepScheduler", _KARRAS),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 Karras": ("KDPM2DiscreteScheduler", _KARRAS),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DPM2 a Karras": ("KDPM2AncestralDiscreteScheduler", _KARRAS),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "LMS": ("LMSDiscreteScheduler", {}),
    "LMS Karras": ("LMSDiscreteScheduler", _KARRAS),
    "DDIM": ("DDIMScheduler", {}),
    "PNDM": ("PNDMScheduler", {}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "LCM": ("LCMScheduler", {}),
}

# Settings that one sampler may have left behind and that change another.
_LEFT_BEHIND = ("use_karras_sigmas", "algorithm_type")


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """Return a fresh scheduler, set up as the model's own one was.

    A scheduler keeps state while it runs, so every run gets its own.
    """
    class_name, settings = _SAMPLERS[name]
    base = {key: value for key, value in config.items() if key not in _LEFT_BEHIND}
    return getattr(diffusers, class_name).from_config(base, **settings)
