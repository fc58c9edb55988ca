"""From what is asked for to the tasks that make it, and from their results to pictures."""

import secrets
from typing import TYPE_CHECKING, Any

from attrs import frozen

from paintmq.client.result import Result
from paintmq.client.task import Input, Task
from paintmq.gateway.apis.canvas import canvas
from paintmq.gateway.apis.cards import ModelCard
from paintmq.gateway.apis.faults import wrong
from paintmq.gateway.apis.openai.asked import Asked
from paintmq.gateway.apis.pictures import (
    MaskMeaning,
    check_same_size,
    mask_of,
    mask_of_pixels,
    pixels_of,
    resized,
)
from paintmq.image import encode_image
from paintmq.task import Json

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEEDS = 2**31
_MOST_SCALE = 1_000
VARIATION_STRENGTH = 0.6
"""How much of a picture goes when a variation of it is painted."""


@frozen(eq=False, kw_only=True)
class Plan:
    """The tasks of one request."""

    tasks: tuple[Task, ...]
    copies: int = 1
    """How often each result is handed out: models without a seed give the same one each time."""
    size: tuple[int, int]
    """Width and height of the pictures that are answered with."""


def plan_edit(card: ModelCard, asked: Asked) -> Plan:
    """Return the tasks that change a picture where its mask is transparent.

    Raises:
        ApiError: what is asked for cannot be done; the error names the parameter.
    """
    if not card.takes_picture:
        raise wrong(f"model {card.name} takes no picture: use images/generations", "model")
    pixels = _picture(asked)
    size = (pixels.shape[1], pixels.shape[0])
    inputs: dict[str, Input] = {"image": asked.images[0]}
    options = _options(card, asked)
    if card.takes_mask:
        inputs |= _mask_inputs(card, asked, pixels)
    elif asked.mask is not None:
        raise wrong(f"model {card.name} takes no mask: it changes the whole picture", "mask")
    if asked.size is not None and asked.size != size:
        options["scale"] = _scale(card, size, asked.size)
        size = asked.size
    elif card.enlarges:
        scale = options.get("scale", card.options["scale"].get("default", 1))
        # What is no scale the model refuses, with words of its own.
        if isinstance(scale, int | float) and 0 < scale <= _MOST_SCALE:
            size = (round(size[0] * scale), round(size[1] * scale))
    if asked.transparent and "background" not in card.options:
        raise wrong(f"background: model {card.name} leaves none out", "background")
    return _plan(card, asked, inputs, options, size)


def plan_generation(card: ModelCard, asked: Asked, preset: tuple[int, int]) -> Plan:
    """Return the tasks that paint a picture from words; ``preset`` is the size if none is asked.

    A model that fills masks paints on an empty canvas, all of which is masked.

    Raises:
        ApiError: what is asked for cannot be done.
    """
    if not card.generates:
        raise wrong(f"model {card.name} paints nothing from words alone", "model")
    if not asked.prompt:
        raise wrong("prompt: say what to paint", "prompt")
    size = asked.size or preset
    inputs, options = canvas(card, *size)
    return _plan(card, asked, inputs, {**_options(card, asked), **options}, size)


def plan_variation(card: ModelCard, asked: Asked) -> Plan:
    """Return the tasks that paint pictures like the one that was sent.

    Raises:
        ApiError: the model cannot.
    """
    import numpy as np

    if not (card.takes_words and card.takes_mask and "strength" in card.options):
        raise wrong(f"model {card.name} makes no variations", "model")
    pixels = _picture(asked)
    size = (pixels.shape[1], pixels.shape[0])
    if asked.size not in (None, size):
        raise wrong(f"size: a variation has the picture's own, {size[0]}x{size[1]}", "size")
    inputs: dict[str, Input] = {
        "image": asked.images[0],
        "mask": np.full(pixels.shape[:2], 255, np.uint8),
    }
    options = {"strength": VARIATION_STRENGTH, **_options(card, asked)}
    return _plan(card, asked, inputs, options, size)


def pictures_of(plan: Plan, results: list[Result], asked: Asked) -> list[bytes]:
    """Return the pictures to answer with, each as a file of the wanted format."""
    made = [
        encode_image(
            resized(result.image, *plan.size),
            asked.format,
            icc_profile=result.icc_profile,
            quality=asked.quality,
        )
        for result in results
    ]
    return [each for each in made for _ in range(plan.copies)]


# ---- parts ---------------------------------------------------------------------------------------


def _picture(asked: Asked) -> "NDArray[Any]":
    match asked.images:
        case (data,):
            return pixels_of(data, "image")
        case ():
            raise wrong("image: send a picture", "image")
        case many:
            raise wrong(f"image: the models here take one picture, and {len(many)} came", "image")


def _options(card: ModelCard, asked: Asked) -> dict[str, Json]:
    options = dict(asked.options)
    if unknown := sorted(set(options) - set(card.options)):
        has = ", ".join(card.options) or "none"
        raise wrong(
            f"there is no parameter {unknown[0]!r}, and it is no option of model {card.name}"
            f" (options: {has})",
            unknown[0],
        )
    if card.takes_words and asked.prompt:
        options["prompt"] = asked.prompt
    if asked.stream and asked.partial_images and "preview_every" in card.options:
        steps = options.get("steps", card.options.get("steps", {}).get("default"))
        if isinstance(steps, int):
            options.setdefault("preview_every", max(1, steps // (asked.partial_images + 1)))
    return options


def _mask_inputs(card: ModelCard, asked: Asked, pixels: "NDArray[Any]") -> dict[str, Input]:
    if asked.mask is not None:
        mask = mask_of(asked.mask, MaskMeaning.OPENAI)
        check_same_size(pixels, mask)
        if not mask.any():
            raise wrong("mask: no pixel of it is fully transparent, so none would change", "mask")
        return {"mask": mask}
    if pixels.shape[2] == 4 and (mask := mask_of_pixels(pixels, MaskMeaning.OPENAI)).any():
        # What was a hole is to be filled: the result has no transparency.
        return {"image": pixels[:, :, :3], "mask": mask}
    raise wrong(
        f"mask: model {card.name} changes what is fully transparent in the mask, or in the picture"
        " itself; there is neither",
        "mask",
    )


def _scale(card: ModelCard, size: tuple[int, int], wanted: tuple[int, int]) -> float:
    if not card.enlarges:
        raise wrong(
            f"size: model {card.name} keeps the picture's own, {size[0]}x{size[1]}; use that or"
            " auto",
            "size",
        )
    scale = wanted[0] / size[0]
    if abs(wanted[1] - size[1] * scale) > 1:
        raise wrong(
            f"size: {wanted[0]}x{wanted[1]} has not the proportions of {size[0]}x{size[1]}", "size"
        )
    if not 1 <= scale <= 4:
        raise wrong(f"size: model {card.name} enlarges up to four times", "size")
    return scale


def _plan(
    card: ModelCard,
    asked: Asked,
    inputs: dict[str, Input],
    options: dict[str, Json],
    size: tuple[int, int],
) -> Plan:
    if "seed" not in card.options:
        return Plan(tasks=(card.task(inputs, options),), copies=asked.n, size=size)
    first = options.get("seed", -1)
    if not isinstance(first, int) or first < 0:
        first = secrets.randbelow(SEEDS)
    seeds = range(first, first + asked.n)
    tasks = tuple(card.task(inputs, {**options, "seed": seed}) for seed in seeds)
    return Plan(tasks=tasks, size=size)
