"""What a client asks for, and the states that request goes through.

Plain values: nothing here does I/O, reads a clock or makes an identifier (see ``identifiers.py``).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, NamedTuple, NewType, TypeAlias

from attrs import field, frozen

TaskId = NewType("TaskId", str)
"""32 lower-case hexadecimal digits of a UUID; made by the client."""

PeerId = NewType("PeerId", bytes)
"""ZeroMQ routing id of one connection: 16 random bytes, fresh for each connection."""

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes of a payload or a message, which are passed on without being copied."""

DeviceKind: TypeAlias = Literal["cpu", "cuda"]
DeviceChoice: TypeAlias = Literal["auto", "cpu", "cuda"]

MIN_PRIORITY, MAX_PRIORITY = 0, 9


class TaskType(StrEnum):
    """The task types that PaintMQ names itself; a third party's model may declare others."""

    INPAINT = "inpaint"
    PLUGIN = "plugin"


class TaskState(StrEnum):
    """Where a task stands. The last five are final: a task reaches exactly one of them."""

    SUBMITTED = "submitted"  # the client has it, the broker has not accepted it yet
    QUEUED = "queued"
    LEASED = "leased"  # given to a worker that has not answered yet
    LOADING = "loading"  # its worker is loading the model
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    DEAD = "dead"  # given up on after repeated crashes or losses; kept for inspection

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES

    @property
    def is_leased(self) -> bool:
        return self in LEASED_STATES


FINAL_STATES = frozenset(
    {
        TaskState.SUCCEEDED,
        TaskState.FAILED,
        TaskState.CANCELLED,
        TaskState.EXPIRED,
        TaskState.DEAD,
    }
)
LEASED_STATES = frozenset({TaskState.LEASED, TaskState.LOADING, TaskState.RUNNING})


class Fence(NamedTuple):
    """The right to answer for one attempt; an answer that carries an older one is refused."""

    incarnation: int
    """Random 63-bit number, new at every start of the broker."""
    attempt: int
    """Counts the attempts of one task from 1."""


@frozen(kw_only=True)
class PayloadInfo:
    """One array or encoded file that travels beside a message, as the broker sees it.

    The bytes themselves are a frame of their own, which the broker passes on unread.
    """

    name: str
    """Which input or output this is, such as ``"image"`` or ``"mask"``."""
    size: int
    """Bytes."""
    digest: str
    """Of the bytes, see ``digests.py``; checked where the bytes are used."""
    kind: Literal["array", "file"]
    """``array``: raw C-contiguous buffer of ``dtype`` and ``shape``; ``file``: an encoded image or
    any other bytes."""
    dtype: str = ""
    shape: tuple[int, ...] = ()
    width: int = 0
    """Pixels; 0 where the sender could not tell. Only used for estimates."""
    height: int = 0
    """Pixels; 0 where the sender could not tell. Only used for estimates."""


@frozen(kw_only=True)
class TaskRequest:
    """A task as it travels and as it is journaled: everything but the payload bytes."""

    id: TaskId
    task_type: str
    model: str
    device: DeviceChoice = "auto"
    options: Mapping[str, Json] = field(factory=dict)
    inputs: tuple[PayloadInfo, ...] = ()
    queue: str = ""
    """The queue the client chose; empty leaves the choice to the router."""
    priority: int = 0
    tenant: str = ""
    expires_in: float | None = None
    """Seconds after acceptance by which an attempt must have started, or the task expires."""
    run_limit: float | None = None
    """Seconds one attempt may take; None takes the model's own limit."""
    max_attempts: int = 3
    """How often a task may be tried when attempts end in retryable errors."""
    cancel_on_disconnect: bool = False
    strict: bool = False
    """Refuse the task rather than let it wait for a worker that is not connected."""
    trace: str = ""
    """W3C Trace Context's ``traceparent`` of whoever submitted it; empty: it is not traced."""

    @property
    def input_bytes(self) -> int:
        return sum([payload.size for payload in self.inputs]) if self.inputs else 0


@frozen(kw_only=True)
class TaskError:
    """Why an attempt or a task failed: a code for programs, a message for people."""

    code: str
    """One of the codes in ``errors.py``, such as ``"model_error"`` or ``"worker_crashed"``."""
    message: str
    retryable: bool = False
    traceback: str = ""
    """For operators (``paintmq dead show``); never sent to clients."""


@frozen(kw_only=True)
class AttemptReport:
    """One finished attempt, kept in the task's history. Times are broker seconds (Unix epoch)."""

    attempt: int
    worker: str
    leased_at: float
    started_at: float | None = None
    ended_at: float
    outcome: str
    """``succeeded``, ``failed``, ``crashed``, ``lost``, ``undelivered``, ``handed_back``,
    ``cancelled`` or ``timed_out``."""
    error: TaskError | None = None
