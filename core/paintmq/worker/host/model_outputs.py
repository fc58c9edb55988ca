"""What a model returned, made into payloads that can travel, or refused with a reason.

Everything is checked here, where the model ran: names, number, sizes and kinds. What gets past
could be refused by the broker only as a whole message, which would be said again and again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paintmq.config import Limits
from paintmq.errors import InvalidInputError, ModelError, WireError, printable, shown
from paintmq.image import payload_of_array, payload_of_bytes
from paintmq.shared_memory.worker_arenas import put_into_room
from paintmq.task import Buffer, PayloadInfo, TaskId
from paintmq.wire.codec import encode
from paintmq.wire.frames import NO_FENCE
from paintmq.wire.messages import AttemptSucceeded
from paintmq.wire.transfer import INLINE_BYTES, MAX_PAYLOADS
from paintmq.worker.host.original_pixels import Original

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST_NAME = 255
FEW = 16
"""Outputs whose descriptions fit into a message whatever their names: a kilobyte and a half each,
of the 64 that there are."""
_ANY_TASK = TaskId("0" * 32)
MOST_DIMENSIONS = 8
_COMPARISONS = 10_000
"""Steps spent on the question whether two interleaved arrays share a byte."""


def make_outputs(
    original: Original, returned: object, limits: Limits
) -> list[tuple[PayloadInfo, Buffer]]:
    """Return the payloads of what the model gave back for one request.

    An image's colour profile goes with the result as an output named ``icc_profile``.

    Raises:
        ModelError: the model gave back something else than it may.
    """
    named = _by_name(returned)
    if original.pixels is not None:
        named["image"] = original.pixels.with_filled(named.get("image"))
    if original.icc_profile is not None and "image" in named:
        named.setdefault("icc_profile", original.icc_profile)
    if original.note:
        named["note"] = _with_note(named.get("note"), original.note)
    if len(named) > MAX_PAYLOADS:
        raise ModelError(
            f"the model returned {len(named)} outputs; at most {MAX_PAYLOADS} can be sent",
            code="too_large",
        )
    total = 0
    for name, value in named.items():
        size = _size(name, value)
        total += size
        if size > limits.max_payload_bytes:
            raise ModelError(
                f"output {name!r} has {size:,} bytes; {limits.max_payload_bytes:,} are"
                " allowed: use a smaller image or scale, or raise limits.max_payload_bytes",
                code="too_large",
            )
    if total > limits.max_task_bytes:
        raise ModelError(
            f"the outputs have {total:,} bytes; {limits.max_task_bytes:,} are allowed for a task:"
            " use a smaller image or scale, or raise limits.max_task_bytes",
            code="too_large",
        )
    payloads = [
        _payload(name, value, cryptographic=original.cryptographic) for name, value in named.items()
    ]
    _check_description([info for info, _ in payloads])
    return payloads


def in_shared_memory(
    inputs: Sequence[Buffer], outputs: list[tuple[PayloadInfo, Buffer]]
) -> list[tuple[PayloadInfo, Buffer]]:
    """Return the outputs, copied to where their client can read them if there is room for them."""
    if sum(info.size for info, _ in outputs) <= INLINE_BYTES:
        return outputs
    placed = put_into_room(inputs, [buffer for _, buffer in outputs])
    if placed is None:
        return outputs
    return [(info, buffer) for (info, _), buffer in zip(outputs, placed, strict=True)]


def are_shared(returned: Sequence[object]) -> bool:
    """Return whether outputs of two requests of a batch lie in the same memory.

    A model that writes one buffer again and again would send everybody the last one's picture.
    """
    spans = [
        (*_span(array), number, array)
        for number, outputs in enumerate(returned)
        for array in _arrays(outputs)
    ]
    spans.sort(key=lambda span: span[:3])
    for place, (_, end, number, array) in enumerate(spans):
        for start, _, other, another in spans[place + 1 :]:
            if start >= end:
                break
            if number != other and _overlap(array, another):
                return True
    return False


def _with_note(returned: object, ours: str) -> bytes:
    """Return our note, and the model's after it if it gave one."""
    theirs = bytes(returned) if isinstance(returned, bytes | bytearray | memoryview) else b""
    return b"; ".join(filter(None, [ours.encode(), theirs]))


def _is_mapping(returned: object) -> bool:
    return type(returned) is dict or isinstance(returned, Mapping)  # which asks for long


def _by_name(returned: Any) -> dict[str, Any]:
    if not _is_mapping(returned) or not returned:
        raise _invalid(f"the model returned {type(returned).__name__}, not outputs by name")
    named: dict[str, Any] = {}
    for name, value in dict(returned).items():
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            raise _invalid(
                f"an output is named {shown(name)}; a name is text of 1 to {LONGEST_NAME}"
                " characters"
            )
        plain = str.__str__(name)
        if printable(plain) != plain:
            raise _invalid(f"an output is named {shown(name)}, which is no valid Unicode")
        named[plain] = value
    return named


def _size(name: str, value: Any) -> int:
    import numpy as np

    if isinstance(value, bytes | bytearray | memoryview):
        return memoryview(value).nbytes
    if isinstance(value, np.ndarray) and np.asarray(value).dtype.name in ("uint8", "uint16"):
        array = np.asarray(value)
        if array.ndim > MOST_DIMENSIONS:
            raise _invalid(f"output {name!r} has {array.ndim} dimensions")
        return int(array.nbytes)
    kind = np.asarray(value).dtype if isinstance(value, np.ndarray) else type(value).__name__
    raise _invalid(f"output {name!r} is {kind}, not bytes or an array of uint8 or uint16")


def _payload(name: str, value: Any, *, cryptographic: bool) -> tuple[PayloadInfo, Buffer]:
    import numpy as np

    if isinstance(value, bytes | bytearray | memoryview):
        return payload_of_bytes(name, bytes(value), cryptographic=cryptographic)
    try:
        return payload_of_array(name, np.asarray(value), cryptographic=cryptographic)
    except InvalidInputError as error:
        raise _invalid(f"output {name!r} cannot be sent: {error}") from error


def _arrays(returned: Any) -> "Iterator[NDArray[Any]]":
    """Iterate over the outputs of one request that could be written to later."""
    import numpy as np

    for value in returned.values() if _is_mapping(returned) else ():
        if isinstance(value, bytearray | memoryview) and len(value):
            value = np.frombuffer(value, np.uint8)
        if isinstance(value, np.ndarray) and value.size:
            yield np.asarray(value)


def _span(array: "NDArray[Any]") -> tuple[int, int]:
    """Return the addresses between which an array lies."""
    start = end = int(array.__array_interface__["data"][0])
    for side, stride in zip(array.shape, array.strides, strict=True):
        start += min(0, (side - 1) * stride)
        end += max(0, (side - 1) * stride)
    return start, end + array.itemsize


def _overlap(left: "NDArray[Any]", right: "NDArray[Any]") -> bool:
    import numpy as np

    compare: Any = np.shares_memory  # its types know no bound but 0 and -1
    try:
        return bool(compare(left, right, max_work=_COMPARISONS))
    except np.exceptions.TooHardError:
        return True


def _check_description(infos: Sequence[PayloadInfo]) -> None:
    """Refuse outputs whose names and shapes alone fill more than a message."""
    if len(infos) <= FEW:
        return
    try:
        encode(AttemptSucceeded(task_id=_ANY_TASK, fence=NO_FENCE, outputs=tuple(infos), ran=0.0))
    except WireError as error:
        raise ModelError(
            f"{len(infos)} outputs with such names cannot be told of in one message: {error}",
            code="too_large",
        ) from error


def _invalid(text: str) -> ModelError:
    return ModelError(text, code="invalid_output")
