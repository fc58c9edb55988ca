"""What a program submits: a Task, checked when it is made, turned into bytes when it is sent.

Rule 1: a mistake that can be seen without a broker is reported where the Task is constructed.
Rule 2: files are read by the client that submits, when it submits, so a long list of Tasks costs
little memory; nothing a task names is ever opened by the broker or a worker.
Rule 3: arrays are copied when they are sent, so the caller may reuse them afterwards.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from attrs import field, frozen

from paintmq.client.message_check import brief, task_id_of
from paintmq.client.task_checks import (
    check_attempts,
    check_flag,
    check_priority,
    check_seconds,
    check_text,
    checked_config,
    checked_task_type,
    known_names,
    remember_name,
    shown,
)
from paintmq.errors import InvalidInputError
from paintmq.identifiers import new_task_id
from paintmq.image.summary import summary_of
from paintmq.shared_memory.client_arena import Placed
from paintmq.task import DeviceChoice, Json, PayloadInfo, TaskId, TaskRequest
from paintmq.task_ids import task_id_for_key
from paintmq.wire.transfer import INLINE_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Input: TypeAlias = (
    "NDArray[Any] | np.generic | bytes | bytearray | memoryview | str | os.PathLike[str]"
)
"""An image or mask as an array, an encoded file as bytes, or a path of a file to read."""

Payload: TypeAlias = bytes | bytearray | memoryview
"""The bytes of one input, as they are sent."""

Put: TypeAlias = Callable[[memoryview], Placed | None]
"""Copies an input into shared memory, if it can."""


_NO_OPTIONS: Mapping[str, Json] = {}
"""One for all tasks without: a client may have a million of them."""
_PRIORITY, _TENANT, _MAX_ATTEMPTS = 0, "", 3
"""What a task has that was given nothing else."""


class PreparedTask(NamedTuple):
    """A task ready to be sent: the request, and the bytes of its inputs in the same order."""

    request: TaskRequest
    payloads: tuple[Payload, ...]


@frozen(eq=False)
class Task:
    """One request: a task type, a config that names the model, and inputs.

    Attributes:
        task_type: ``TaskType.INPAINT``, ``TaskType.PLUGIN``, or a type that an installed model
            declares.
        config: ``model`` names the model, ``device`` is ``auto`` (default), ``cpu`` or ``cuda``;
            everything else is an option of the model (``paintmq models show NAME``).
        inputs: By name, such as ``image`` and ``mask``: NumPy arrays, the bytes of a file, or a
            path, which is read when the task is submitted.
        priority: 0 to 9, higher sooner.
        deadline: Seconds after acceptance by which an attempt must have started, or the task
            expires; None for no limit.
        tenant: Whose task this is: tenants share the workers fairly.
        idempotency_key: Tasks of one tenant with equal keys are one task, however often they are
            submitted. If the client shows a key to the broker, such a task has another id than
            ``id`` says: its handle's.
        max_attempts: How often the task is tried when attempts end in errors that may pass.
        run_limit: Seconds one attempt may take; None takes the model's own limit.
        cancel_on_disconnect: Cancel the task when its client is gone.
        strict: Refuse the task rather than let it wait for a worker that is not connected.
        id: 32 hexadecimal digits, or a UUID in its usual form; made here unless given.

    Raises:
        InvalidTaskError: or a subclass; the text names the value and what would be allowed.
    """

    task_type: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Input] = field(factory=dict, repr=summary_of)
    priority: int = field(default=_PRIORITY, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)
    tenant: str = field(default=_TENANT, kw_only=True)
    idempotency_key: str | None = field(default=None, kw_only=True)
    max_attempts: int = field(default=_MAX_ATTEMPTS, kw_only=True)
    run_limit: float | None = field(default=None, kw_only=True)
    cancel_on_disconnect: bool = field(default=False, kw_only=True)
    strict: bool = field(default=False, kw_only=True)
    id: TaskId = field(default=TaskId(""), kw_only=True)

    def __attrs_post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "task_type", checked_task_type(self.task_type))
        set_(self, "config", checked_config(self.config))
        set_(self, "inputs", _checked_inputs(self.inputs))
        if not self._is_plain():
            self._check_settings()
        set_(self, "id", self._checked_id())

    def _is_plain(self) -> bool:
        """Whether nothing was given but what the task is: as with most, and they are many."""
        return (
            self.priority is _PRIORITY
            and self.max_attempts is _MAX_ATTEMPTS
            and self.cancel_on_disconnect is False
            and self.strict is False
            and self.deadline is None
            and self.run_limit is None
            and self.idempotency_key is None
            and self.tenant is _TENANT
        )

    def _check_settings(self) -> None:
        check_priority(self.priority)
        check_seconds("deadline", self.deadline)
        check_seconds("run_limit", self.run_limit)
        check_attempts(self.max_attempts)
        check_text("tenant", self.tenant)
        check_flag("cancel_on_disconnect", self.cancel_on_disconnect)
        check_flag("strict", self.strict)
        if self.idempotency_key is not None:
            check_text("idempotency_key", self.idempotency_key)

    @property
    def model(self) -> str:
        return str(self.config["model"])

    @property
    def device(self) -> DeviceChoice:
        device: DeviceChoice = self.config.get("device", "auto")
        return device

    @property
    def options(self) -> dict[str, Json]:
        """The config without what PaintMQ itself reads."""
        return {k: v for k, v in self.config.items() if k not in ("model", "device")}

    def prepare(self, *, queue: str = "", put: Put | None = None) -> PreparedTask:
        """Read and describe the inputs, and return the task as it is sent.

        Large inputs are copied by ``put``, if there is one, and as long as it takes them.

        Raises:
            InvalidInputError: a file is missing, is no file or cannot be read, or an array is of a
                shape or dtype that no model takes.
            InvalidTaskError: the queue is no name.
        """
        if queue:
            check_text("queue", queue)
        # Whoever repeats a key is answered by comparing digests: they must not be forged.
        keyed = self.idempotency_key is not None
        infos: list[PayloadInfo] = []
        payloads: list[Payload] = []
        for name, value in self.inputs.items():
            info, payload = _described(name, value, put, cryptographic=keyed)
            infos.append(info)
            payloads.append(payload)
        return PreparedTask(self._request(tuple(infos), queue), tuple(payloads))

    def outline(self) -> TaskRequest:
        """Return the request as far as routing needs it: without copying or hashing the inputs.

        Raises:
            InvalidInputError: a file is missing, is no file or cannot be read.
        """
        return self._request(tuple(_outlined(n, value) for n, value in self.inputs.items()), "")

    def _request(self, inputs: tuple[PayloadInfo, ...], queue: str) -> TaskRequest:
        config = self.config
        return TaskRequest(
            id=self.id,
            task_type=self.task_type,
            model=config["model"],
            device=config.get("device", "auto"),
            options=self.options if len(config) > 1 else _NO_OPTIONS,
            inputs=inputs,
            queue=queue,
            priority=self.priority,
            tenant=self.tenant,
            expires_in=self.deadline,
            run_limit=self.run_limit,
            max_attempts=self.max_attempts,
            cancel_on_disconnect=self.cancel_on_disconnect,
            strict=self.strict,
        )

    def _checked_id(self) -> TaskId:
        if not self.id:
            if self.idempotency_key is None:
                return new_task_id()
            return task_id_for_key(self.tenant, self.idempotency_key)
        return task_id_of(self.id)


def _checked_inputs(inputs: object) -> dict[str, Input]:
    if type(inputs) is not dict and not isinstance(inputs, Mapping):
        raise InvalidInputError(
            f"inputs must be a mapping such as {{'image': image}}, not {shown(inputs)}"
        )
    return {_checked_name(name): _checked_input(name, each) for name, each in inputs.items()}


def _checked_name(name: object) -> str:
    if type(name) is str and name in known_names:
        return name
    if isinstance(name, str) and name:
        check_text("an input's name", name, error=InvalidInputError)
        remember_name(name)
        return name
    raise InvalidInputError(f"inputs has the key {brief(name)}: inputs go by names such as 'image'")


def _checked_input(name: str, value: object) -> Input:
    if type(value) is bytes:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)  # the caller may change its buffer before the task is sent
    if isinstance(value, str | os.PathLike):
        path = Path(os.fspath(value))
        _check_file(name, path)
        return path
    if _is_array(value):
        return value  # type: ignore[return-value]  # an array, without importing NumPy to say so
    raise InvalidInputError(
        f"input {name!r} is {shown(value)}: give a NumPy array, the bytes of a file, or a path;"
        " numpy.asarray() makes an array of most image objects"
    )


def _is_array(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "shape")


def _check_file(name: str, path: Path) -> None:
    if not path.exists():
        raise InvalidInputError(f"input {name!r}: there is no file {str(path)!r}")
    if not path.is_file():
        raise InvalidInputError(f"input {name!r}: {str(path)!r} is not a file")


def _described(
    name: str, value: Input, put: Put | None, *, cryptographic: bool
) -> tuple[PayloadInfo, Payload]:
    from paintmq.image.payloads import bytes_of_array, payload_of_array, payload_of_bytes

    if isinstance(value, Path):
        value = _read(name, value)
    if isinstance(value, bytes):
        info, payload = payload_of_bytes(name, value, cryptographic=cryptographic)
        placed = put(memoryview(value)) if put is not None and len(value) > INLINE_BYTES else None
        return info, payload if placed is None else placed.payload
    import numpy as np

    # The bytes must not change between the digest and the last time they are sent.
    array = np.asarray(value)
    placed = None
    if put is not None and array.nbytes > INLINE_BYTES:
        placed = put(bytes_of_array(name, array))
    if placed is None:
        copy = np.array(array, order="C", copy=True)
        return payload_of_array(name, copy, cryptographic=cryptographic)
    order = array.dtype.newbyteorder("<")
    there = np.frombuffer(placed.written, order).reshape(array.shape)
    info, _ = payload_of_array(name, there, cryptographic=cryptographic)
    return info, placed.payload


def _outlined(name: str, value: Input) -> PayloadInfo:
    if isinstance(value, Path):
        value = _read(name, value)
    if isinstance(value, bytes):
        from paintmq.image import format_of, size_of_file

        width, height = size_of_file(value) if format_of(value) else (0, 0)
        return PayloadInfo(
            name=name, size=len(value), digest="", kind="file", width=width, height=height
        )
    array: Any = value
    height, width = (*array.shape, 0, 0)[:2]
    return PayloadInfo(
        name=name, size=array.nbytes, digest="", kind="array", width=width, height=height
    )


def _read(name: str, path: Path) -> bytes:
    _check_file(name, path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"input {name!r}: cannot read {str(path)!r}: {error.strerror}"
        ) from error
