"""From payloads to a model's Request.

Rule: nothing is decoded whose digest does not match, and no array that a model gets can be written
to: a model that paints into its input would otherwise lose it for a second attempt.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from paintmq.config import Limits
from paintmq.digests import digest_of, is_cryptographic
from paintmq.errors import InvalidInputError
from paintmq.image import (
    array_from_payload,
    check_mask_fits,
    check_payload,
    image_from_payload,
    mask_from_payload,
)
from paintmq.model import InputSpec, ModelSpec, Request
from paintmq.plugin.catalog import input_missing
from paintmq.plugin.options import options_to_json, parse_options
from paintmq.shared_memory.ranges import place_of
from paintmq.task import Buffer, PayloadInfo, TaskType
from paintmq.worker.channel.messages import RunItem

if TYPE_CHECKING:
    from numpy.typing import NDArray


def make_request(
    spec: ModelSpec, item: RunItem, payloads: Sequence[Buffer], limits: Limits
) -> Request:
    """Return what the model gets: options parsed, inputs decoded and checked.

    Raises:
        InvalidTaskError: an option or input cannot be used; the text names it and the remedy.
    """
    sent = {info.name: (info, data) for info, data in zip(item.inputs, payloads, strict=True)}
    options = parse_options(spec.options, item.options, model=spec.name)
    # A model whose options say that it extends the picture may have nothing to fill inside.
    must_fill = fills_mask(spec, item) and not getattr(options, "extends", False)
    inputs: dict[str, Any] = {}
    icc_profile: bytes | None = None
    for wanted in spec.inputs:
        if wanted.name not in sent:
            if wanted.required:
                raise input_missing(spec, wanted)
            continue
        info, data = sent[wanted.name]
        match wanted.kind:
            case "image":
                decoded = image_from_payload(info, data, limits)
                inputs[wanted.name] = decoded.pixels
                icc_profile = icc_profile or decoded.icc_profile
            case "mask":
                mask = mask_from_payload(info, data, limits, must_fill=must_fill)
                if wanted.needs_surroundings and fills_mask(spec, item):
                    _check_surroundings(mask, spec, wanted)
                inputs[wanted.name] = mask
            case "data":
                inputs[wanted.name] = _data(info, data)
    for value in inputs.values():
        if not isinstance(value, bytes):
            value.flags.writeable = False
    if "image" in inputs and "mask" in inputs:
        check_mask_fits(inputs["image"], inputs["mask"])
    return Request(
        task_id=item.task_id,
        options=options,
        inputs=inputs,
        icc_profile=icc_profile,
        seed=_seed(options, item, payloads),
    )


def fills_mask(spec: ModelSpec, item: RunItem) -> bool:
    """Return whether the task is to have its mask filled: the type ``plugin`` is whatever the model
    does.
    """
    types = spec.task_types if item.task_type == TaskType.PLUGIN else (item.task_type,)
    return TaskType.INPAINT in types


def check_unchanged(infos: Sequence[PayloadInfo], payloads: Sequence[Buffer]) -> None:
    """Check, when a model is done, that its inputs in shared memory still are those of its task.

    Raises:
        InvalidInputError: their places were used for something else meanwhile.
    """
    for info, payload in zip(infos, payloads, strict=True):
        place = place_of(payload)
        if place is not None and not place.is_as_written:
            raise InvalidInputError(
                f"{info.name}: its place in shared memory was written to anew while the model ran;"
                " submit it again"
            )


def _seed(options: Any, item: RunItem, payloads: Sequence[Buffer]) -> int:
    """Return what randomness starts from: as asked, else derived from the task's options and
    inputs.

    Retries and repetitions then give the same bytes, and different tasks do not share a pattern.
    """
    asked = getattr(options, "seed", None)
    if isinstance(asked, int) and not isinstance(asked, bool) and asked >= 0:
        return asked
    inputs = [
        (info.name, digest_of(data) if is_cryptographic(info.digest) else info.digest)
        for info, data in zip(item.inputs, payloads, strict=True)
    ]  # the same for the same bytes, whichever digest came with them
    named = options_to_json(options)
    text = _seed_text(json.dumps(named, sort_keys=True) if named else "{}", inputs)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _seed_text(options: str, inputs: Sequence[tuple[str, str]]) -> str:
    """Return what ``json.dumps([options, inputs])`` would, in a tenth of the time."""
    pairs = [f"[{_quoted(name)}, {_quoted(digest)}]" for name, digest in inputs]
    return f"[{options}, [{', '.join(pairs)}]]"


_quoted = json.encoder.encode_basestring_ascii


def _check_surroundings(mask: "NDArray[Any]", spec: ModelSpec, wanted: InputSpec) -> None:
    if mask.all():
        raise InvalidInputError(
            f"{wanted.name}: all of it is white, so nothing is left of the picture for model"
            f" {spec.name} to fill from; white is where to fill, black what to keep"
        )


def _data(info: PayloadInfo, data: Buffer) -> "bytes | NDArray[Any]":
    if info.kind == "array":
        return array_from_payload(info, data)
    content = bytes(data)  # before it is checked: no one else can change it then
    check_payload(info, content)
    return content
