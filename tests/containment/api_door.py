"""What other programs' APIs take, with odd bodies and forms: OpenAI's, AUTOMATIC1111's, IOPaint's.

And the newer routes of our own: forms, batches, lists, orders of admins, live news.
"""

import base64
import json
from collections.abc import Mapping
from functools import cache
from urllib.parse import quote

import numpy as np
from hypothesis import strategies as st

from paintmq.image import encode_image
from tests.containment.case import Case
from tests.containment.http_door import JSON, TEXTS, json_of, text_of
from tests.containment.site import HarmError, Site
from tests.containment.strategies import cases as odd_fields

PICTURES = (
    *("picture:8x8x3", "picture:8x8x4", "picture:8x8x1", "picture:1x1x3", "picture:2000x1x3"),
    *("deep-picture:8x8x3", "cut-picture", "picture:9x8x3", "jpeg:8x8x3", "address"),
)
NUMBERS = ('"nan"', '"1e400"', "1e308", "-1e308", "2147483648", "0.5", "-0.0", '"\u0661"', '"0x10"')
VALUES = (*JSON, *NUMBERS, *PICTURES)
_IMAGE, _MASK = "picture:8x8x3", "picture:8x8x1"

POSTS: Mapping[str, Mapping[str, str]] = {
    "/v1/images/generations": {
        "model": '"words"', "prompt": '"sky"', "n": "1", "size": '"64x64"', "steps": "1",
        "response_format": '"b64_json"', "output_format": '"png"', "output_compression": "50",
        "background": '"auto"', "stream": "false", "partial_images": "0", "odd": '"x"',
    },
    "/openai/v1/images/edits": {
        "model": '"words"', "prompt": '"sky"', "images": '["picture:8x8x3"]', "mask": _IMAGE,
        "n": "1", "size": '"auto"', "stream": "false", "partial_images": "1", "scale": "2",
        "seed": "1", "steps": "1",
    },
    "/v1/images/edits": {"model": '"realesrgan"', "image": _IMAGE, "scale": "2", "n": "1"},
    "/v1/images/variations": {"model": '"words"', "image": _IMAGE, "n": "1", "strength": "0.5"},
    "/sdapi/v1/txt2img": {
        "prompt": '"sky"', "negative_prompt": '""', "seed": "1", "steps": "1", "width": "64",
        "height": "64", "cfg_scale": "7", "sampler_name": '"Euler a"', "batch_size": "1",
        "n_iter": "1", "override_settings": '{"sd_model_checkpoint": "words"}',
        "send_images": "true", "scheduler": '"Karras"',
    },
    "/sdapi/v1/img2img": {
        "init_images": '["picture:8x8x3"]', "mask": _MASK, "prompt": '"sky"', "steps": "1",
        "denoising_strength": "0.5", "mask_blur": "1", "inpaint_full_res": "true",
        "inpaint_full_res_padding": "4", "inpainting_mask_invert": "0", "width": "8",
        "height": "8", "override_settings": '{"sd_model_checkpoint": "words"}',
        "include_init_images": "true",
    },
    "/sdapi/v1/extra-single-image": {
        "image": _IMAGE, "upscaler_1": '"None"', "resize_mode": "1", "upscaling_resize": "2",
        "upscaling_resize_w": "16", "upscaling_resize_h": "16", "upscaling_crop": "true",
        "gfpgan_visibility": "0",
    },
    "/sdapi/v1/extra-batch-images": {
        "imageList": '[{"data": "picture:8x8x3", "name": "a"}]', "upscaling_resize": "2",
    },
    "/sdapi/v1/options": {"sd_model_checkpoint": '"words"', "odd": "1"},
    "/sdapi/v1/png-info": {"image": _IMAGE},
    "/sdapi/v1/interrupt": {"odd": "1"},
    "/api/v1/inpaint": {
        "image": _IMAGE, "mask": _MASK, "prompt": '"sky"', "sd_steps": "1", "sd_strength": "1",
        "sd_seed": "1", "sd_mask_blur": "1", "cv2_radius": "4", "use_croper": "true",
        "croper_x": "1", "croper_y": "1", "croper_width": "4", "croper_height": "4",
        "use_extender": "false", "extender_x": "0", "extender_width": "9", "hd_strategy": '"Crop"',
        "sd_guidance_scale": "7", "sd_sampler": '"UniPC"', "hd_strategy_resize_limit": "9",
    },
    "/api/v1/model": {"name": '"words"'},
    "/api/v1/run_plugin_gen_image": {"name": '"RealESRGAN"', "image": _IMAGE, "scale": "2"},
    "/api/v1/run_plugin_gen_mask": {"name": '"RemoveBG"', "image": _IMAGE},
    "/api/v1/switch_plugin_model": {"plugin_name": '"RemoveBG"', "model_name": '"rembg"'},
    "/api/v1/adjust_mask": {"mask": _MASK, "operate": '"expand"', "kernel_size": "5"},
    "/v1/tasks": {"tasks": '[{"model": "honest"}]', "odd": "1"},
}  # fmt: skip
"""Bodies with nothing odd about them, as recipes of JSON, by route."""
FORMS: Mapping[str, Mapping[str, str]] = {
    "/v1/tasks": {"model": "honest", "option.salt": "1", "options": "{}", "image": "file"},
    "/v1/images/edits": {"model": "words", "prompt": "sky", "n": "1", "image": "file",
                         "mask": "file", "size": "auto"},
    "/v1/images/variations": {"model": "words", "image": "file", "n": "1"},
    "/api/v1/gen-info": {"file": "file"},
    "/api/v1/save_image": {"file": "file"},
}  # fmt: skip
GETS: Mapping[str, tuple[str, ...]] = {
    "/v1/tasks": ("state", "model", "queue", "limit", "before", "odd"),
    "/v1/dead": ("odd",),
    "/v1/events": ("task", "previews"),
    "/sdapi/v1/progress": ("skip_current_image",),
    "/api/v1/medias": ("tab",),
    "/api/v1/media_file": ("tab", "filename"),
    "/api/v1/media_thumbnail_file": ("tab", "filename", "width", "height"),
    "/socket.io/": ("EIO", "transport", "sid", "t"),
    "/login": ("next", "link", "token"),
    "/v1/tasks/{}/preview": ("id", "format", "quality"),
    "/v1/tasks/{}/why": ("id",),
    "/v1/dead/{}": ("id",),
    "/openai/v1/models/{}": ("id",),
    "/v1/images/files/{}": ("id",),
    "/studio/static/{}": ("id",),
    "/assets/{}": ("id",),
}
ORDERS: Mapping[str, tuple[str, ...]] = {
    "/v1/workers/drain": ("grace", "name"),
    "/v1/dead/{}/requeue": ("id",),
    "/login": ("next",),
}
"""Posts without a body; of no worker that there is."""
_TEXT = (*TEXTS, "file", "1.5", "tab\tbed", '"', "{}", "%00", "..%2f", "\N{FULLWIDTH DIGIT ONE}")
_AT_FAULT = (500, 501, 502)
"""What says that the gateway is. A model without weights is 500 too: see ``_is_the_models``."""


def cases() -> st.SearchStrategy[Case]:
    """Odd requests to every route that another program's API has, and to the newer ones of ours."""
    values, texts = st.sampled_from(VALUES), st.sampled_from(_TEXT)
    posts = [odd_fields("api", f"post {at}", dict.fromkeys(f, values)) for at, f in POSTS.items()]
    whole = [odd_fields("api", f"whole {at}", {"body": values}) for at in POSTS]
    forms = [odd_fields("api", f"form {at}", dict.fromkeys(f, texts)) for at, f in FORMS.items()]
    gets = [odd_fields("api", f"get {at}", dict.fromkeys(f, texts)) for at, f in GETS.items()]
    orders = [odd_fields("api", f"order {at}", dict.fromkeys(f, texts)) for at, f in ORDERS.items()]
    return st.one_of(*posts, *posts, *posts, *whole, *forms, *gets, *orders)


def act(site: Site, case: Case) -> None:
    """Send it; any answer will do that does not say that the gateway is at fault."""
    kind, _, path = case.call.partition(" ")
    odd = case.odd()
    if "{}" in path:
        path = path.replace("{}", quoted(odd.pop("id", "0" * 32)))
    match kind:
        case "post":
            status, answer = _post(site, path, {**POSTS[path], **odd})
        case "whole":
            status, answer = site.gateway.ask("POST", path, _json(odd["body"]).encode())
        case "form":
            status, answer = _post_form(site, path, {**FORMS[path], **odd})
        case "order":
            odd = {"name": "nobody", **odd} if "drain" in path else odd
            status, answer = site.gateway.ask("POST", f"{path}?{_query(odd)}")
        case _:
            status, answer = site.gateway.begin(f"{path}?{_query(odd)}")
    if status in _AT_FAULT and not _is_the_models(answer):
        raise HarmError(f"answered by {status}: {answer[:300]!r}")


def _is_the_models(answer: bytes) -> bool:
    """Return whether it is a model that failed, as one without its weights does."""
    return b"something went wrong" not in answer and b'"internal"' not in answer


def _post(site: Site, path: str, fields: Mapping[str, str]) -> tuple[int, bytes]:
    body = "{" + ", ".join(f'"{name}": {_json(recipe)}' for name, recipe in fields.items()) + "}"
    return site.gateway.ask("POST", path, body.encode("utf-8", "surrogatepass"))


def _post_form(site: Site, path: str, fields: Mapping[str, str]) -> tuple[int, bytes]:
    pieces: list[bytes] = []
    for name, recipe in fields.items():
        head = f'--edge\r\nContent-Disposition: form-data; name="{name}"'
        if recipe == "file":
            head, data = f'{head}; filename="a.png"', _picture("picture:8x8x3")
        else:
            data = text_of(recipe).encode("utf-8", "surrogatepass")
        pieces.append(head.encode() + b"\r\n\r\n" + data + b"\r\n")
    body = b"".join(pieces) + b"--edge--\r\n"
    return site.gateway.ask("POST", path, body, "multipart/form-data; boundary=edge")


def _json(recipe: str) -> str:
    """Return the JSON that a recipe stands for, in which pictures are base64."""
    for name in PICTURES:
        if recipe == name:
            return json.dumps(base64_of(name))
        recipe = recipe.replace(f'"{name}"', json.dumps(base64_of(name)))
    return json_of(recipe)


@cache
def base64_of(recipe: str) -> str:
    """Return the file that a recipe of ``PICTURES`` stands for."""
    if recipe == "address":
        return "http://127.0.0.1:9/picture.png"
    return base64.b64encode(_picture(recipe)).decode()


@cache
def _picture(recipe: str) -> bytes:
    kind, _, shape = recipe.partition(":")
    if kind == "cut-picture":
        return _picture("picture:8x8x3")[:40]
    height, width, channels = (int(side) for side in shape.split("x"))
    dtype = np.uint16 if kind == "deep-picture" else np.uint8
    pixels = np.full((height, width, channels), 200, dtype)
    format = "jpeg" if kind == "jpeg" else "png"
    return encode_image(pixels if channels > 1 else pixels[:, :, 0], format)


def _query(odd: Mapping[str, str]) -> str:
    return "&".join(f"{name}={quoted(text_of(text))}" for name, text in odd.items())


def quoted(text: str) -> str:
    """Return the text of a recipe as a part of a path or query."""
    return quote(text_of(text).encode("utf-8", "surrogatepass"), safe="")
