"""What the page asks to be painted, as a task; and the result as the page takes it."""

import secrets
from typing import TYPE_CHECKING, Any

import msgspec
from attrs import frozen

from paintmq.client.result import Result
from paintmq.client.task import Input, Task
from paintmq.gateway.apis.cards import ModelCard
from paintmq.gateway.apis.faults import wrong
from paintmq.gateway.apis.pictures import (
    MaskMeaning,
    bytes_of,
    check_same_size,
    format_to_answer,
    mask_of,
    pixels_of,
    png_text,
    with_png_text,
)
from paintmq.image import encode_image
from paintmq.task import Json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SEEDS = 2**31
_PARAMETERS = "parameters"


class Asked(msgspec.Struct, kw_only=True):
    """The body of ``POST inpaint``, with IOPaint's presets; its other fields mean nothing here."""

    image: str
    mask: str
    prompt: str | None = ""
    negative_prompt: str | None = ""
    sd_steps: int = 50
    sd_strength: float = 1.0
    sd_guidance_scale: float = 7.5
    sd_sampler: str = ""
    sd_seed: int = 42
    sd_mask_blur: int = 11
    cv2_flag: str = "INPAINT_NS"
    cv2_radius: float = 4
    use_croper: bool = False
    croper_x: float = 0
    croper_y: float = 0
    croper_width: float = 512
    croper_height: float = 512
    use_extender: bool = False
    extender_x: float = 0
    extender_y: float = 0
    extender_width: float = 640
    extender_height: float = 640
    hd_strategy: str = ""
    hd_strategy_crop_margin: int = 128
    hd_strategy_crop_trigger_size: int = 800
    hd_strategy_resize_limit: int = 1280


@frozen(eq=False, kw_only=True)
class Painting:
    """One request, ready to be run."""

    task: Task | None
    """None: nothing is masked, and the picture is given back."""
    seed: int
    pixels: "NDArray[Any]"
    """The picture, upright."""
    box: tuple[int, int, int, int] | None
    """Left, top, right and bottom of the part that is painted; None: all of it."""
    format: str
    parameters: str
    """The text that the picture came with, which stays with it."""

    def finished(self, result: Result | None) -> bytes:
        """Return the file to answer with."""
        profile = None if result is None else result.icc_profile
        made = self.pixels if result is None else self._pasted(result.image)
        data = encode_image(made, self.format, icc_profile=profile)
        if self.parameters and self.format == "png":
            return with_png_text(data, _PARAMETERS, self.parameters)
        return data

    def _pasted(self, made: "NDArray[Any]") -> "NDArray[Any]":
        if self.box is None:
            return made
        left, top, right, bottom = self.box
        whole = self.pixels.copy()
        whole[top:bottom, left:right] = made
        return whole


def read_asked(body: bytes) -> Asked:
    """Return what ``POST inpaint`` asks for.

    Raises:
        ApiError: the body is wrong.
    """
    try:
        return msgspec.json.decode(body, type=Asked, strict=False)
    except RecursionError:
        raise wrong("the body is nested too deeply", status=422) from None
    except msgspec.MsgspecError as error:
        raise wrong(f"the body cannot be read: {error}", status=422) from error


def painting_of(card: ModelCard, asked: Asked) -> Painting:
    """Return the task of a request.

    Raises:
        ApiError: picture or mask are none, or do not fit.
    """
    data = bytes_of(asked.image, "image")
    pixels = pixels_of(data, "image")
    mask = mask_of(bytes_of(asked.mask, "mask"), MaskMeaning.IOPAINT)
    check_same_size(pixels, mask)
    seed = asked.sd_seed if asked.sd_seed >= 0 else secrets.randbelow(_SEEDS)
    options = _options(card, asked, seed)
    extended = _extension(card, asked, pixels)
    box = _box(asked, pixels) if card.takes_words and not extended else None
    inputs = _inputs(data, pixels, mask, box)
    task = None
    if extended or "mask" in inputs:
        task = card.task(inputs, options | extended)
    return Painting(
        task=task,
        seed=seed,
        pixels=pixels,
        box=box,
        format=format_to_answer(data),
        parameters=png_text(data, _PARAMETERS),
    )


def _inputs(
    data: bytes,
    pixels: "NDArray[Any]",
    mask: "NDArray[np.uint8]",
    box: tuple[int, int, int, int] | None,
) -> dict[str, Input]:
    image: Input = data
    if box is not None:
        left, top, right, bottom = box
        image, mask = pixels[top:bottom, left:right], mask[top:bottom, left:right]
    return {"image": image, "mask": mask} if mask.any() else {"image": image}


def _box(asked: Asked, pixels: "NDArray[Any]") -> tuple[int, int, int, int] | None:
    if not asked.use_croper:
        return None
    height, width = pixels.shape[:2]
    left, top = max(0, round(asked.croper_x)), max(0, round(asked.croper_y))
    right = min(width, round(asked.croper_x + asked.croper_width))
    bottom = min(height, round(asked.croper_y + asked.croper_height))
    if right <= left or bottom <= top:
        raise wrong("the cropper lies beside the picture", "croper_x")
    return left, top, right, bottom


def _extension(card: ModelCard, asked: Asked, pixels: "NDArray[Any]") -> dict[str, Json]:
    """Return by how much the picture is to be made larger."""
    if not asked.use_extender or "extend_left" not in card.options:
        return {}
    height, width = pixels.shape[:2]
    beyond = {
        "extend_left": -asked.extender_x,
        "extend_top": -asked.extender_y,
        "extend_right": asked.extender_x + asked.extender_width - width,
        "extend_bottom": asked.extender_y + asked.extender_height - height,
    }
    return {name: round(by) for name, by in beyond.items() if round(by) > 0}


def _options(card: ModelCard, asked: Asked, seed: int) -> dict[str, Json]:
    strategy = asked.hd_strategy.lower()
    wanted: dict[str, Json] = {
        "algorithm": "telea" if asked.cv2_flag == "INPAINT_TELEA" else "ns",
        "radius": asked.cv2_radius,
        "strategy": strategy if strategy in ("crop", "resize", "original") else None,
        "crop_trigger": asked.hd_strategy_crop_trigger_size,
        "crop_margin": asked.hd_strategy_crop_margin,
        "resize_limit": asked.hd_strategy_resize_limit,
    }
    if card.takes_words:
        choices: Any = card.options.get("sampler", {}).get("choices") or ()
        wanted = {
            "prompt": asked.prompt or "",
            "negative_prompt": asked.negative_prompt or "",
            "steps": asked.sd_steps,
            "strength": asked.sd_strength,
            "guidance_scale": asked.sd_guidance_scale,
            "sampler": asked.sd_sampler if asked.sd_sampler in choices else None,
            "mask_blur": asked.sd_mask_blur,
        }
    wanted["seed"] = seed
    return {
        name: value for name, value in wanted.items() if name in card.options and value is not None
    }
