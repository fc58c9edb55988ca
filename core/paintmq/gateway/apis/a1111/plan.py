"""From what is asked for to tasks; see ``asked.py`` for what a request may say."""

from typing import TYPE_CHECKING, Any

from attrs import frozen

from paintmq.client.task import Input, Task
from paintmq.gateway.apis.a1111.asked import MOST_PICTURES, Asked, Enlarging, options_for
from paintmq.gateway.apis.a1111.shapes import ENLARGED
from paintmq.gateway.apis.canvas import canvas
from paintmq.gateway.apis.cards import ModelCard
from paintmq.gateway.apis.faults import wrong
from paintmq.gateway.apis.pictures import (
    MaskMeaning,
    bytes_of,
    mask_of,
    pixels_of,
    resized,
)
from paintmq.image import encode_image
from paintmq.task import Json

if TYPE_CHECKING:
    from numpy.typing import NDArray


@frozen(eq=False, kw_only=True)
class Plan:
    """The tasks of one request."""

    tasks: tuple[Task, ...]
    copies: int
    """How often each result is handed out."""
    seed: int
    """Of the first picture."""
    size: tuple[int, int]
    untouched: bytes | None = None
    """A PNG to answer with if the work is interrupted; None: nothing."""


def plan_txt2img(card: ModelCard, asked: Asked) -> Plan:
    """Return the tasks that paint pictures from words.

    Raises:
        ApiError: the model cannot, or a parameter is wrong.
    """
    if not card.generates:
        raise wrong(f"model {card.name} paints nothing from words alone", status=422)
    inputs, options = canvas(card, *asked.size)
    return _plan(card, asked, inputs, options, asked.size)


def plan_img2img(card: ModelCard, asked: Asked) -> Plan:
    """Return the tasks that change a picture, within its mask if there is one.

    Raises:
        ApiError: the model cannot, or a parameter is wrong.
    """
    import numpy as np

    if not asked.init_images:
        raise wrong("init_images: Init image not found", "init_images", status=404)
    if not card.takes_picture:
        raise wrong(f"model {card.name} takes no picture", status=422)
    data = bytes_of(asked.init_images[0], "init_images")
    pixels = pixels_of(data, "init_images")
    mask = _mask(asked, pixels) if asked.mask else None
    if card.takes_words and not (mask is not None and asked.inpaint_full_res):
        pixels = resized(pixels, *asked.size)  # as resize_mode 0 does
        mask = None if mask is None else _nearest(mask, *asked.size)
    size = (pixels.shape[1], pixels.shape[0])
    untouched = encode_image(pixels)
    inputs: dict[str, Input] = {"image": pixels}
    if card.takes_mask:
        if mask is None and not card.takes_words:
            raise wrong(f"model {card.name} changes what a mask marks; send one", status=422)
        if mask is None:
            mask = np.full(pixels.shape[:2], 255, np.uint8)
        if not mask.any():
            return Plan(tasks=(), copies=0, seed=asked.first_seed(), size=size, untouched=untouched)
        inputs["mask"] = mask
    plan = _plan(card, asked, inputs, {}, size)
    return Plan(
        tasks=plan.tasks, copies=plan.copies, seed=plan.seed, size=size, untouched=untouched
    )


def _plan(
    card: ModelCard,
    asked: Asked,
    inputs: dict[str, Input],
    options: dict[str, Json],
    size: tuple[int, int],
) -> Plan:
    options = {**options_for(asked, card.options), **options}
    seed, count = asked.first_seed(), asked.pictures
    if "seed" not in card.options:
        return Plan(tasks=(card.task(inputs, options),), copies=count, seed=seed, size=size)
    seeds = range(seed, seed + count)
    tasks = tuple(card.task(inputs, {**options, "seed": each}) for each in seeds)
    return Plan(tasks=tasks, copies=1, seed=seed, size=size)


def _mask(asked: Asked, pixels: "NDArray[Any]") -> "NDArray[Any]":
    mask = mask_of(bytes_of(asked.mask, "mask"), MaskMeaning.AUTOMATIC1111)
    mask = _nearest(mask, pixels.shape[1], pixels.shape[0])
    return 255 - mask if asked.inpainting_mask_invert else mask


def _nearest(mask: "NDArray[Any]", width: int, height: int) -> "NDArray[Any]":
    import cv2

    if mask.shape[:2] == (height, width):
        return mask
    made: NDArray[Any] = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return made


# ---- enlarging -----------------------------------------------------------------------------------


@frozen(eq=False, kw_only=True)
class EnlargingPlan:
    """How one picture is made larger."""

    pixels: "NDArray[Any]"
    scale: float
    """What the model is asked for; the rest is resized."""
    size: tuple[int, int]
    """Width and height before it is cropped."""
    crop: tuple[int, int] | None
    """Width and height of the middle that is kept; None: all of it."""

    def finished(self, pixels: "NDArray[Any]") -> bytes:
        """Return the PNG to answer with, of what the model made."""
        pixels = resized(pixels, *self.size)
        if self.crop is not None:
            left = (pixels.shape[1] - self.crop[0]) // 2
            top = (pixels.shape[0] - self.crop[1]) // 2
            pixels = pixels[top : top + self.crop[1], left : left + self.crop[0]]
        return encode_image(pixels)


def plan_enlarging(asked: Enlarging, image: object, most_pixels: int) -> EnlargingPlan:
    """Return how large a picture is to be.

    Raises:
        ApiError: it is no picture, or the size is none.
    """
    pixels = pixels_of(bytes_of(image, "image"), "image")
    width, height = pixels.shape[1], pixels.shape[0]
    crop = None
    if asked.resize_mode == 1:
        target = (asked.upscaling_resize_w or 0, asked.upscaling_resize_h or 0)
        if min(target) < 1:
            raise wrong("upscaling_resize_w and upscaling_resize_h must be 1 or more", status=422)
        factor = max(target[0] / width, target[1] / height)
        crop = target if asked.upscaling_crop else None
        # Rounding must not leave a side short of what is cropped to.
        size = (max(round(width * factor), target[0] if crop else 1),
                max(round(height * factor), target[1] if crop else 1))  # fmt: skip
    else:
        factor = asked.upscaling_resize or 0.0
        size = (round(width * factor), round(height * factor))
    if not 1 <= min(size) <= size[0] * size[1] <= most_pixels:
        raise wrong(f"{size[0]} x {size[1]} pixels: from 1 to {most_pixels:,} in all", status=422)
    scale = min(float(ENLARGED), max(1.0, factor))
    return EnlargingPlan(pixels=pixels, scale=scale, size=size, crop=crop)


def batch_of(asked: Enlarging) -> list[object]:
    """Return the pictures of extra-batch-images.

    Raises:
        ApiError: there are too many.
    """
    if len(asked.imageList) > MOST_PICTURES:
        raise wrong(f"imageList: {MOST_PICTURES} pictures at most", "imageList", status=422)
    return [each.get("data") for each in asked.imageList]
