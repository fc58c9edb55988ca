"""What a program reads of a task: its progress and its result."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from paintmq.client.task import Payload
from paintmq.errors import InvalidInputError, TaskFailedError
from paintmq.image.summary import summary_of
from paintmq.task import PayloadInfo, TaskId, TaskState
from paintmq.wire.messages import Finished

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@frozen(kw_only=True)
class Progress:
    """Where a task stands, at one moment."""

    state: TaskState
    step: int = 0
    total: int = 0
    """Steps in all; 0 while unknown."""
    queue: str = ""
    worker: str = ""
    attempt: int = 0
    """Counts the attempts from 1; 0 before the first."""
    note: str = ""
    """Why the last attempt was given up; of a task that succeeded, the note of its result."""
    waiting_for: str = ""
    """Why no worker takes the task now, for people; empty when one soon will."""
    preview: "NDArray[np.uint8] | None" = field(default=None, eq=False)
    """The picture so far, uint8, shape (height, width, 3), RGB, where the model shows one."""

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1."""
        if self.state is TaskState.SUCCEEDED:
            return 1.0
        return min(1.0, self.step / self.total) if self.total else 0.0


@frozen(kw_only=True)
class Result:
    """The outputs of a task that succeeded, and how it ran."""

    outputs: "Mapping[str, NDArray[Any] | bytes]" = field(eq=False, repr=summary_of)
    """By name: arrays (read-only views of what arrived), or bytes. The main one is ``image``."""
    task_id: TaskId
    queue: str = ""
    worker: str = ""
    attempts: int = 1
    waited: float = 0.0
    """Seconds from acceptance to the start of the attempt that succeeded."""
    ran: float = 0.0
    """Seconds that attempt took."""

    @property
    def image(self) -> "NDArray[Any]":
        """Return the main output: uint8, shape (height, width, 3), RGB, rows top to bottom.

        With transparency it has four channels, a mask has none (height, width), and a model that
        works in 16 bits gives uint16.
        The array is read-only; ``.copy()`` gives one to draw on.

        Raises:
            KeyError: the model gives back no image.
        """
        value = self.outputs["image"]
        if not isinstance(value, bytes):
            return value
        from paintmq.config import Limits
        from paintmq.image import decode_image

        return decode_image(value, Limits()).pixels

    def save(
        self, path: "str | os.PathLike[str]", *, output: str = "image", quality: int = 95
    ) -> Path:
        """Write an output to a file, and return its path.

        An array becomes an image of the format that the path's ending names, PNG where it has
        none, with the colour profile of the picture that was sent; bytes are written as they are.

        Raises:
            KeyError: the model gives back no such output.
            InvalidInputError: the ending names no image format, or the array is no image.
        """
        value, target = self.outputs[output], Path(path)
        if not isinstance(value, bytes):
            from paintmq.image import encode_image

            kind = target.suffix or "png"
            value = encode_image(value, kind, icc_profile=self.icc_profile, quality=quality)
        target.write_bytes(value)
        return target

    def _repr_png_(self) -> bytes | None:
        """Let a notebook show the main output; None if there is none that can be shown."""
        from paintmq.image import encode_image

        try:
            return encode_image(self.image, "png", icc_profile=self.icc_profile)
        except (KeyError, InvalidInputError):
            return None

    @property
    def icc_profile(self) -> bytes | None:
        """Return the colour profile of the picture that was sent; the main output is in it too.

        None if it had no RGB profile. Pass it to ``paintmq.image.encode_image``.
        """
        value = self.outputs.get("icc_profile")
        return value if isinstance(value, bytes) else None

    @property
    def note(self) -> str:
        """Return the model's remark on its result; mostly empty."""
        value = self.outputs.get("note")
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def result_of(message: Finished, payloads: Sequence[Payload]) -> Result:
    """Return the result that a message of success and its payloads carry.

    Raises:
        TaskFailedError: the bytes are not those the worker sent.
    """
    try:
        outputs = {
            info.name: _value(info, payload)
            for info, payload in zip(message.outputs, payloads, strict=True)
        }
    except InvalidInputError as error:
        raise TaskFailedError(
            message.task_id, message.state, "corrupt_result", f"the result is damaged: {error}"
        ) from error
    return Result(
        outputs=outputs,
        task_id=message.task_id,
        queue=message.queue,
        worker=message.worker,
        attempts=message.attempts,
        waited=message.waited,
        ran=message.ran,
    )


def _value(info: PayloadInfo, payload: Payload) -> "NDArray[Any] | bytes":
    from paintmq.image.payloads import array_from_payload, check_payload

    if info.kind == "array":
        return array_from_payload(info, payload)
    data = bytes(payload)
    check_payload(info, data)
    return data
