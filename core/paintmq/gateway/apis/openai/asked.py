"""What a request of OpenAI's images API asks for, read from JSON or from a form."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from starlette.datastructures import UploadFile
from starlette.requests import Request

from paintmq.gateway.apis.faults import wrong
from paintmq.gateway.apis.pictures import MEDIA_TYPES, bytes_of
from paintmq.gateway.media_type import JSON, media_type
from paintmq.task import Json

MOST_PICTURES = 10
"""Made by one request: as OpenAI allows."""
MOST_SIDE = 8_192
_MOST_FILES, _MOST_FIELDS = 20, 100
_IGNORED = {"quality", "input_fidelity", "user", "safety_identifier", "moderation", "style"}
"""Parameters that mean nothing to the models here, whatever their value."""
_READ = {
    "model", "prompt", "n", "size", "response_format", "output_format", "output_compression",
    "background", "stream", "partial_images", "image", "image[]", "images", "mask",
}  # fmt: skip


@frozen(kw_only=True)
class Asked:
    """One request, checked as far as that goes without knowing the model."""

    model: str = ""
    prompt: str = ""
    n: int = 1
    size: tuple[int, int] | None = None
    """Width and height; None: what fits."""
    as_url: bool = False
    format: str = "png"
    quality: int = 95
    """1 to 100, for JPEG and WebP."""
    transparent: bool = False
    stream: bool = False
    partial_images: int = 0
    images: tuple[bytes, ...] = ()
    mask: bytes | None = None
    options: Mapping[str, Json] = field(factory=dict[str, Json])
    """Everything else that was sent: options of the model."""


async def read_request(request: Request) -> Asked:
    """Read a request.

    Raises:
        ApiError: it is wrong; the error names the parameter.
    """
    kind = media_type(request.headers.get("content-type", ""))
    if kind == JSON:
        fields = _json_object(await request.body())
        mask = fields.get("mask")
        linked = None if mask is None else _linked(mask, "mask")
        return asked_of(fields, _images_in(fields), linked)
    if kind != "multipart/form-data":
        raise wrong("send multipart/form-data or application/json")
    async with request.form(max_files=_MOST_FILES, max_fields=_MOST_FIELDS) as form:
        fields = {}
        images: list[bytes] = []
        mask_bytes: bytes | None = None
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                data = await value.read()
                if name in ("image", "image[]"):
                    images.append(data)
                elif name == "mask":
                    mask_bytes = data
                else:
                    raise wrong(f"there is no file parameter {name!r}", name)
            elif name in ("image", "image[]", "mask"):
                raise wrong(f"{name}: send a file", name.removesuffix("[]"))
            else:
                fields[name] = value
    return asked_of(fields, tuple(images), mask_bytes)


def asked_of(
    fields: Mapping[str, Any], images: tuple[bytes, ...] = (), mask: bytes | None = None
) -> Asked:
    """Return what the parameters ask for; numbers and truth values may be texts.

    Raises:
        ApiError: one of them is wrong.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    kind = _one_of(given, "output_format", tuple(MEDIA_TYPES), "png")
    partial = _whole(given, "partial_images", 0, 0, 3)
    background = _one_of(given, "background", ("auto", "opaque", "transparent"), "auto")
    return Asked(
        model=_text(given, "model"),
        prompt=_text(given, "prompt"),
        n=_whole(given, "n", 1, 1, MOST_PICTURES),
        size=_size(given),
        as_url=_one_of(given, "response_format", ("b64_json", "url"), "b64_json") == "url",
        format=kind,
        quality=max(1, _whole(given, "output_compression", 95, 0, 100)),
        transparent=background == "transparent",
        stream=_truth(given, "stream"),
        partial_images=partial,
        images=images,
        mask=mask,
        options={
            name: _option(value)
            for name, value in given.items()
            if name not in _READ and name not in _IGNORED
        },
    )


# ---- parameters ----------------------------------------------------------------------------------


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise wrong(f"{name} must be a text", name)
    return value


def _whole(given: Mapping[str, Any], name: str, preset: int, least: int, most: int) -> int:
    value = given.get(name, preset)
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise wrong(f"{name} = {str(value)[:40]!r}: use a whole number, {least} to {most}", name)
    return number


def _truth(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise wrong(f"{name} must be true or false", name)
    return value


def _one_of(given: Mapping[str, Any], name: str, known: tuple[str, ...], preset: str) -> str:
    value = given.get(name, preset)
    if value not in known:
        raise wrong(f"{name} = {str(value)[:40]!r}: use {', '.join(known)}", name)
    return str(value)


def _size(given: Mapping[str, Any]) -> tuple[int, int] | None:
    text = _text(given, "size").lower()
    if text in ("", "auto"):
        return None
    width, _, height = text.partition("x")
    for side in (width, height):
        if not (side.isascii() and side.isdecimal() and 1 <= int(side[:9]) <= MOST_SIDE):
            raise wrong(
                f"size = {text[:40]!r}: use WIDTHxHEIGHT such as 1024x1024, each 1 to {MOST_SIDE},"
                " or auto",
                "size",
            )
    return int(width), int(height)


def _option(value: Any) -> Json:
    """Return what a part of a form means; in JSON it is meant as it stands."""
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]  # from JSON
    try:
        parsed: Json = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed


# ---- JSON ----------------------------------------------------------------------------------------


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise wrong(f"the body is no JSON that can be read: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise wrong("the body must be a JSON object")
    return value


def _images_in(fields: Mapping[str, Any]) -> tuple[bytes, ...]:
    value = fields.get("images", fields.get("image", fields.get("image[]")))
    many = value if isinstance(value, list) else [] if value is None else [value]
    if len(many) > _MOST_FILES:
        raise wrong(f"image: {_MOST_FILES} at most", "image")
    return tuple(_linked(each, "image") for each in many)


def _linked(value: Any, name: str) -> bytes:
    """Return the picture in a text, or in {"image_url": text}; no address is ever opened."""
    if isinstance(value, dict):
        value = value.get("image_url")
    if isinstance(value, dict):
        value = value.get("url")
    if isinstance(value, str) and value.startswith(("http:", "https:")):
        raise wrong(f"{name}: addresses are not opened here; send the picture itself", name)
    return bytes_of(value, name)
