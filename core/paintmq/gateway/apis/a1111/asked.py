"""What a request of AUTOMATIC1111's API asks for; what means nothing here is left out."""

import secrets
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from paintmq.gateway.apis.faults import wrong
from paintmq.task import Json

MOST_PICTURES = 16
"""Made by one request."""
MOST_SIDE = 8_192
_SEEDS = 2**32

T = TypeVar("T")


class Asked(msgspec.Struct, kw_only=True):
    """The body of txt2img and img2img, with AUTOMATIC1111's presets."""

    prompt: str | None = ""
    negative_prompt: str | None = ""
    seed: int | None = -1
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = 512
    height: int | None = 512
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    denoising_strength: float | None = None
    batch_size: int | None = 1
    n_iter: int | None = 1
    mask_blur: float | None = None
    inpaint_full_res: bool | int | None = False
    inpaint_full_res_padding: int | None = 32
    inpainting_mask_invert: bool | int | None = 0
    init_images: list[str] | None = None
    mask: str | None = None
    override_settings: dict[str, Any] | None = None
    send_images: bool | None = True
    include_init_images: bool | None = False

    @property
    def pictures(self) -> int:
        return (self.batch_size or 1) * (self.n_iter or 1)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width or 512, self.height or 512

    @property
    def sampler(self) -> str:
        return self.sampler_name or self.sampler_index or ""

    @property
    def model(self) -> str:
        """This request's model; empty: the current one."""
        settings = self.override_settings or {}
        return str(settings.get("sd_model_checkpoint") or "")

    def first_seed(self) -> int:
        """Return the seed of the first picture, drawn where none was sent."""
        if self.seed is None or self.seed < 0:
            return secrets.randbelow(_SEEDS)
        return self.seed


class Enlarging(msgspec.Struct, kw_only=True):
    """The body of extra-single-image and of extra-batch-images."""

    image: str = ""
    imageList: list[dict[str, Any]] = []  # noqa: N815 -- the name on the wire
    upscaler_1: str | None = "None"
    resize_mode: int | None = 0
    upscaling_resize: float | None = 2.0
    upscaling_resize_w: int | None = 512
    upscaling_resize_h: int | None = 512
    upscaling_crop: bool | None = True
    gfpgan_visibility: float | None = 0.0


def read_asked(body: bytes) -> Asked:
    """Return what txt2img or img2img asks for.

    Raises:
        ApiError: the body is wrong.
    """
    asked = _decoded(body, Asked)
    if not 1 <= asked.pictures <= MOST_PICTURES or min(asked.batch_size or 1, 1) < 1:
        raise wrong(f"batch_size x n_iter must be 1 to {MOST_PICTURES}", "batch_size", status=422)
    for name, side in zip(("width", "height"), asked.size, strict=True):
        if not 1 <= side <= MOST_SIDE:
            raise wrong(f"{name} must be 1 to {MOST_SIDE}", name, status=422)
    return asked


def read_enlarging(body: bytes) -> Enlarging:
    """Return what the extra routes ask for.

    Raises:
        ApiError: the body is wrong.
    """
    asked = _decoded(body, Enlarging)
    if len(asked.imageList) > MOST_PICTURES:
        raise wrong(f"imageList: {MOST_PICTURES} at most", "imageList", status=422)
    return asked


def read_object(body: bytes) -> dict[str, Any]:
    """Return a body that is an object of anything.

    Raises:
        ApiError: it is none.
    """
    return _decoded(body, dict[str, Any])


def shown(body: bytes) -> dict[str, Json]:
    """Return the request as answers repeat it: without the pictures."""
    asked = read_object(body)
    return {name: value for name, value in asked.items() if name not in ("init_images", "mask")}


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        # Not strict: clients write 512.0 for 512, and 1 for true.
        return msgspec.json.decode(body or b"{}", type=kind, strict=False)
    except RecursionError:
        raise wrong("the body is nested too deeply", status=422) from None
    except msgspec.MsgspecError as error:
        raise wrong(f"the body cannot be read: {error}", status=422) from error


def sampler_of(asked: Asked, known: tuple[Json, ...]) -> str | None:
    """Return the model's own name of the sampler asked for; None: the model's preset.

    Raises:
        ApiError: the model has no such sampler.
    """
    name, scheduler = asked.sampler.strip(), (asked.scheduler or "").strip()
    if not name or name.lower() == "automatic":
        return None
    by_name = {str(each).lower(): str(each) for each in known}
    for candidate in (f"{name} {scheduler}", name):
        if (found := by_name.get(candidate.strip().lower())) is not None:
            return found
    raise wrong(f"Sampler not found: {name!r}; there are {', '.join(by_name.values())}", "sampler")


def options_for(asked: Asked, options: Mapping[str, Mapping[str, Any]]) -> dict[str, Json]:
    """Return the options of a model that a request names, of those that the model has.

    Raises:
        ApiError: the sampler is unknown to it.
    """
    wanted: dict[str, Json] = {
        "prompt": asked.prompt or "",
        "negative_prompt": asked.negative_prompt or "",
        "steps": asked.steps,
        "guidance_scale": asked.cfg_scale,
        "strength": asked.denoising_strength,
        "mask_blur": None if asked.mask_blur is None else int(asked.mask_blur),
    }
    if "sampler" in options:
        choices = tuple(options["sampler"].get("choices", ()))
        wanted["sampler"] = sampler_of(asked, choices) if choices else None
    if asked.inpaint_full_res and asked.mask:
        wanted |= {"crop": True, "crop_margin": asked.inpaint_full_res_padding}
    return {name: value for name, value in wanted.items() if name in options and value is not None}
