"""From payloads to a model's Request, and from its outputs back to payloads.

Rule 1: nothing is decoded whose digest does not match. Rule 2: pixels outside an inpainting mask
come out as they went in, bit by bit, whatever the model did. Rule 3: outputs have digests of the
kind that the client has shown to know: that of its inputs, SHA-256 where there are none.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paintmq.config import Limits
from paintmq.digests import digest_of, is_cryptographic
from paintmq.errors import InvalidInputError, ModelError
from paintmq.image import (
    array_from_payload,
    check_mask_fits,
    check_payload,
    image_from_payload,
    mask_from_payload,
    payload_of_array,
    payload_of_bytes,
)
from paintmq.model import InputSpec, ModelSpec, Outputs, Request
from paintmq.plugin.options import options_to_json, parse_options
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
    inputs: dict[str, Any] = {}
    icc_profile: bytes | None = None
    for wanted in spec.inputs:
        if wanted.name not in sent:
            if wanted.required:
                raise _missing(spec, wanted)
            continue
        info, data = sent[wanted.name]
        match wanted.kind:
            case "image":
                decoded = image_from_payload(info, data, limits)
                inputs[wanted.name] = decoded.pixels
                icc_profile = icc_profile or decoded.icc_profile
            case "mask":
                inputs[wanted.name] = mask_from_payload(info, data, limits)
            case "data":
                inputs[wanted.name] = _data(info, data)
    if "image" in inputs and "mask" in inputs:
        check_mask_fits(inputs["image"], inputs["mask"])
    options = parse_options(spec.options, item.options, model=spec.name)
    return Request(
        task_id=item.task_id,
        options=options,
        inputs=inputs,
        icc_profile=icc_profile,
        seed=_seed(options, item, payloads),
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
        [info.name, digest_of(data) if is_cryptographic(info.digest) else info.digest]
        for info, data in zip(item.inputs, payloads, strict=True)
    ]  # the same for the same bytes, whichever digest came with them
    about = [options_to_json(options), inputs]
    text = json.dumps(about, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _missing(spec: ModelSpec, wanted: InputSpec) -> InvalidInputError:
    what = f" ({wanted.summary})" if wanted.summary else ""
    how = f"give it in the task's inputs, as inputs={{{wanted.name!r}: ...}}"
    return InvalidInputError(f"model {spec.name} needs input {wanted.name!r}{what}: {how}")


def _data(info: PayloadInfo, data: Buffer) -> "bytes | NDArray[Any]":
    if info.kind == "array":
        return array_from_payload(info, data)
    check_payload(info, data)
    return bytes(data)


def make_outputs(
    item: RunItem, request: Request, outputs: Outputs, limits: Limits
) -> list[tuple[PayloadInfo, Buffer]]:
    """Return the payloads of what the model gave back for one request.

    An image's colour profile goes with the result as an output named ``icc_profile``.

    Raises:
        ModelError: the model gave back something else than it may.
    """
    given: Any = outputs  # a plugin may return anything
    if not isinstance(given, Mapping) or not given:
        raise ModelError(f"the model returned {type(given).__name__}, not outputs by name")
    named: dict[str, Any] = dict(given)
    image, mask = request.inputs.get("image"), request.inputs.get("mask")
    # A model whose options say that this job extends the picture returns a larger one.
    extends = getattr(request.options, "extends", False) is True
    inpaints = item.task_type == TaskType.INPAINT and not extends
    if inpaints and image is not None and mask is not None:
        named["image"] = keep_outside_mask(image, mask, named.get("image"))
    if request.icc_profile is not None and "image" in named:
        named.setdefault("icc_profile", request.icc_profile)
    cryptographic = wants_cryptographic(item)
    payloads = [_payload(name, value, cryptographic=cryptographic) for name, value in named.items()]
    for info, _ in payloads:
        if info.size > limits.max_payload_bytes:
            raise ModelError(
                f"output {info.name!r} has {info.size:,} bytes; {limits.max_payload_bytes:,} are"
                " allowed: use a smaller image or scale, or raise limits.max_payload_bytes"
            )
    return payloads


def wants_cryptographic(item: RunItem) -> bool:
    """Return whether the client may not know the digests of protocol version 2."""
    return not item.inputs or any(is_cryptographic(info.digest) for info in item.inputs)


def _payload(name: str, value: Any, *, cryptographic: bool) -> tuple[PayloadInfo, Buffer]:
    import numpy as np

    if isinstance(value, bytes | bytearray | memoryview):
        return payload_of_bytes(name, bytes(value), cryptographic=cryptographic)
    if not isinstance(value, np.ndarray) or value.dtype not in (np.uint8, np.uint16):
        kind = getattr(value, "dtype", type(value).__name__)
        raise ModelError(f"output {name!r} is {kind}, not bytes or an array of uint8 or uint16")
    try:
        return payload_of_array(name, value, cryptographic=cryptographic)
    except InvalidInputError as error:
        raise ModelError(f"output {name!r} cannot be sent: {error}") from error


def keep_outside_mask(
    image: "NDArray[Any]", mask: "NDArray[Any]", result: "NDArray[Any] | None"
) -> "NDArray[Any]":
    """Return the result with every pixel of the image where the mask is 0.

    It has the depth and, where the model dropped it, the alpha channel of the image.

    Raises:
        ModelError: there is no result, or it is of another size or depth.
    """
    import numpy as np

    if not isinstance(result, np.ndarray):
        raise ModelError("the model returned no output 'image' for an inpainting task")
    if result.ndim != 3 or result.shape[:2] != image.shape[:2] or result.dtype != image.dtype:
        raise ModelError(
            f"the model returned an image of shape {result.shape} and {result.dtype} for one of"
            f" shape {image.shape} and {image.dtype}"
        )
    if result.shape[2] not in (3, image.shape[2]):
        raise ModelError(f"the model returned {result.shape[2]} channels for {image.shape[2]}")
    kept = image.copy()
    filled = mask != 0
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    if rows.size:  # only the box around the mask is compared pixel by pixel
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        target = kept[box][:, :, : result.shape[2]]
        np.copyto(target, result[box], where=filled[box][:, :, None])
    return kept
