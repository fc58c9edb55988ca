"""Messages between clients and the broker."""

from collections.abc import Mapping
from typing import TypeAlias

from attrs import field, frozen

from paintmq.task import (
    Json,
    PayloadInfo,
    TaskError,
    TaskId,
    TaskRequest,
    TaskState,
)
from paintmq.wire.message_class import message
from paintmq.wire.shared_messages import (
    OLDEST_BROKER_VERSION,
    PROTOCOL_VERSION,
    BrokerHeartbeat,
    Refused,
    WhoAreYou,
)

# ---- client to broker --------------------------------------------------------------------------


@message(0x01, hello=True)
@frozen(kw_only=True)
class ClientHello:
    """First message on a connection, and again after ``WhoAreYou``."""

    oldest: int = 1  # what a peer of version 1 leaves out: never to change
    newest: int = 1
    name: str = ""
    """For logs and status: program and process."""


def client_hello(name: str) -> ClientHello:
    """Return what a client of this version says first."""
    return ClientHello(oldest=OLDEST_BROKER_VERSION, newest=PROTOCOL_VERSION, name=name)


@message(0x02, large=True, runs=True, payloads="task.inputs")
@frozen
class Submit:
    """Accept this task. Harmless to repeat; its input payloads follow."""

    task: TaskRequest


@message(0x03)
@frozen
class Cancel:
    """Cancel this task; answered by CancelAnswered."""

    task_id: TaskId


@message(0x04, large=True)
@frozen
class Query:
    """Ask for the state of these tasks, each answered by Accepted, Finished or UnknownTask; the
    client is told of their further progress.
    """

    task_ids: tuple[TaskId, ...]


@message(0x05, runs=True)
@frozen
class ResultReceived:
    """The client has the result (RESULT_ACK); the broker may forget it after a while."""

    task_id: TaskId


@message(0x06, large=True)
@frozen(kw_only=True)
class Ask:
    """A question or order off the hot path: statistics, why, dead letters, drain, reload …"""

    request_id: int
    subject: str
    """A key of the broker's closed table of subjects."""
    arguments: Mapping[str, Json] = field(factory=dict)


@message(0x07)
@frozen
class ClientGoodbye:
    """The client leaves on purpose."""


FromClient: TypeAlias = ClientHello | Submit | Cancel | Query | ResultReceived | Ask | ClientGoodbye

# ---- broker to client --------------------------------------------------------------------------


@message(0x20)
@frozen(kw_only=True)
class Welcome:
    """The answer to ClientHello."""

    incarnation: int
    durable_sequence: int
    """Number of the last committed record; a client that has seen a higher one knows that the
    broker's store went back in time."""
    heartbeat: float
    """Seconds between the heartbeats that the broker expects."""
    newest: int = 3  # what a broker of version 3 leaves out: never to change
    """The newest version that the broker speaks, told to peers of version 4 and newer."""


@message(0x21, runs=True)
@frozen(kw_only=True)
class Accepted:
    """A promise: the task will be brought to exactly one ending, whatever crashes."""

    task_id: TaskId
    queue: str
    durable_sequence: int
    state: TaskState = TaskState.QUEUED
    waiting_for: str = ""
    """Why no worker can take it now; empty when one soon will."""


@message(0x22)
@frozen(kw_only=True)
class Rejected:
    """The task was refused and nothing was stored."""

    task_id: TaskId
    code: str
    """``unknown_model``, ``invalid_option``, ``invalid_input``, ``no_queue_fits``, ``not_allowed``,
    ``queue_full``, ``bytes_full``, ``no_worker``, ``draining``, ``disk_full``, ``disk_busy``,
    ``conflict``, ``broker_error`` or ``invalid_task``."""
    reason: str
    retry_after: float | None = None


@message(0x23, payloads="preview")
@frozen(kw_only=True)
class Progressed:
    """The progress of a task; lossy by contract. A preview payload may follow."""

    task_id: TaskId
    state: TaskState
    step: int = 0
    total: int = 0
    worker: str = ""
    attempt: int = 0
    note: str = ""
    preview: tuple[PayloadInfo, ...] = ()


@message(0x24, large=True, runs=True, payloads="outputs")
@frozen(kw_only=True)
class Finished:
    """The ending of a task; its output payloads follow."""

    task_id: TaskId
    state: TaskState
    outputs: tuple[PayloadInfo, ...] = ()
    error: TaskError | None = None
    queue: str = ""
    worker: str = ""
    attempts: int = 0
    waited: float = 0.0
    """Seconds from acceptance to the start of the last attempt."""
    ran: float = 0.0
    """Seconds that the last attempt took."""


@message(0x25)
@frozen
class UnknownTask:
    """The broker does not know this task: never accepted, or forgotten after its time-to-live."""

    task_id: TaskId


@message(0x26)
@frozen
class CancelAnswered:
    """``cancelled``: it will not complete; ``too_late``: it already ended; ``unknown``."""

    task_id: TaskId
    answer: str


@message(0x27, large=True)
@frozen(kw_only=True)
class Answer:
    """The answer to Ask."""

    request_id: int
    value: Json = None
    error: str = ""


ToClient: TypeAlias = (
    Welcome
    | Accepted
    | Rejected
    | Progressed
    | Finished
    | UnknownTask
    | CancelAnswered
    | Answer
    | WhoAreYou
    | Refused
    | BrokerHeartbeat
)
