"""The API's options, and what of the models the page is told."""

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen, validators

from paintmq.gateway.apis.cards import ModelCard
from paintmq.task import Json

PLUGINS: Mapping[str, tuple[str, ...]] = {
    "RealESRGAN": ("realesrgan", "realesrgan-general", "realesrgan-anime", "realesrgan-video"),
    "GFPGAN": ("gfpgan",),
    "RemoveBG": ("rembg", "rembg-u2net", "rembg-u2netp", "rembg-silueta"),
    "AnimeSeg": ("anime-seg",),
}
"""The page's plugins, and the models that do their work, the preferred first. The page knows no
other plugins: a name that is new to it leaves it blank."""
PRESET_SAMPLER = "DPM++ 2M"
"""The page's own; where it is missing from the list, the page has no sampler."""


@frozen(kw_only=True)
class IOPaintOptions:
    """``[http.options.iopaint]``."""

    page: str = field(
        default="",
        metadata={"help": "IOPaint's wheel, or a folder with its web_app; empty: as installed"},
    )
    input_folder: str = field(
        default="", metadata={"help": "pictures to offer in the file manager; empty: none"}
    )
    output_folder: str = field(
        default="", metadata={"help": "where the page's results are saved; empty: downloaded"}
    )
    plugins: Mapping[str, tuple[str, ...]] = field(
        factory=lambda: dict(PLUGINS), metadata={"help": "the models of each of the page's plugins"}
    )
    names: Mapping[str, str] = field(
        factory=lambda: {"opencv": "cv2"},
        metadata={"help": "models that the page knows by another name: cv2 has its own panel"},
    )
    most_files: int = field(
        default=1_000,
        validator=[validators.ge(1), validators.le(100_000)],
        metadata={"help": "files listed of a folder, the newest first"},
    )


def model_info(card: ModelCard, name: str) -> dict[str, Json]:
    """Return a model as the page lists it."""
    return {
        "name": name,
        "path": name,
        "model_type": "diffusers_sd_inpaint" if card.takes_words else "inpaint",
        "is_single_file_diffusers": False,
        "need_prompt": card.takes_words,
        "controlnets": [],
        "brushnets": [],
        "support_strength": card.takes_words and "strength" in card.options,
        "support_outpainting": card.takes_words and "extend_left" in card.options,
        "support_lcm_lora": False,
        "support_controlnet": False,
        "support_brushnet": False,
        "support_powerpaint_v2": False,
    }


def samplers_of(cards: Iterable[ModelCard]) -> list[Json]:
    """Return the samplers of all models, each once."""
    names: dict[str, None] = {}
    for card in cards:
        choices: Any = card.options.get("sampler", {}).get("choices") or ()
        names |= dict.fromkeys(map(str, choices))
    names.setdefault(PRESET_SAMPLER)
    return list(names)
