"""Everything that can be said between client, broker and worker: frozen values, closed unions.

What arrives at the broker from a worker is a past fact; what goes out to one is an order. Payload
bytes are not in here: they follow a message as frames, in the order of its PayloadInfos.
"""

from collections.abc import Mapping
from typing import TypeAlias

from attrs import field, frozen

from paintmq.task import (
    DeviceKind,
    Fence,
    Json,
    PayloadInfo,
    PeerId,
    TaskError,
    TaskId,
    TaskRequest,
    TaskState,
)

PROTOCOL_VERSION = 1
"""Peers that share no version are refused, in words."""
OLDEST_PROTOCOL_VERSION = 1

# ---- client to broker --------------------------------------------------------------------------


@frozen(kw_only=True)
class ClientHello:
    """First message on a connection, and again after ``WhoAreYou``."""

    oldest: int = OLDEST_PROTOCOL_VERSION
    newest: int = PROTOCOL_VERSION
    name: str = ""
    """For logs and status: program and process."""


@frozen
class Submit:
    """Accept this task. Harmless to repeat; its input payloads follow."""

    task: TaskRequest


@frozen
class Cancel:
    """Cancel this task; answered by CancelAnswered."""

    task_id: TaskId


@frozen
class Query:
    """How do these tasks stand? Each is answered by Accepted, Finished or UnknownTask, and the
    client is told of their further progress.
    """

    task_ids: tuple[TaskId, ...]


@frozen
class ResultReceived:
    """The client has the result (RESULT_ACK); the broker may forget it after a while."""

    task_id: TaskId


@frozen(kw_only=True)
class Ask:
    """A question or order off the hot path: statistics, why, dead letters, drain, reload …"""

    request_id: int
    subject: str
    """A key of the broker's closed table of subjects."""
    arguments: Mapping[str, Json] = field(factory=dict)


@frozen
class ClientGoodbye:
    """The client leaves on purpose."""


FromClient: TypeAlias = ClientHello | Submit | Cancel | Query | ResultReceived | Ask | ClientGoodbye

# ---- broker to client --------------------------------------------------------------------------


@frozen(kw_only=True)
class Welcome:
    """The answer to ClientHello."""

    incarnation: int
    durable_sequence: int
    """Number of the last committed record; a client that has seen a higher one knows that the
    broker's store went back in time."""
    heartbeat: float
    """Seconds between heartbeats the broker would like."""


@frozen(kw_only=True)
class Accepted:
    """A promise: the task will be brought to exactly one ending, whatever crashes."""

    task_id: TaskId
    queue: str
    durable_sequence: int
    state: TaskState = TaskState.QUEUED
    waiting_for: str = ""
    """Why no worker takes it now, in words; empty when one soon will."""


@frozen(kw_only=True)
class Rejected:
    """The task was refused and nothing was stored."""

    task_id: TaskId
    code: str
    """``unknown_model``, ``invalid_option``, ``invalid_input``, ``no_queue_fits``, ``not_allowed``,
    ``queue_full``, ``bytes_full``, ``no_worker``, ``draining``, ``disk_full``, ``disk_busy``,
    ``conflict`` or ``invalid_task``."""
    reason: str
    retry_after: float | None = None


@frozen(kw_only=True)
class Progressed:
    """How a task gets on; lossy by contract. A preview payload may follow."""

    task_id: TaskId
    state: TaskState
    step: int = 0
    total: int = 0
    worker: str = ""
    attempt: int = 0
    note: str = ""
    preview: tuple[PayloadInfo, ...] = ()


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
    """Seconds the last attempt took."""


@frozen
class UnknownTask:
    """The broker does not know this task: never accepted, or forgotten after its time-to-live."""

    task_id: TaskId


@frozen
class CancelAnswered:
    """``cancelled``: it will not complete; ``too_late``: it already ended; ``unknown``."""

    task_id: TaskId
    answer: str


@frozen(kw_only=True)
class Answer:
    """The answer to Ask."""

    request_id: int
    value: Json = None
    error: str = ""


@frozen
class WhoAreYou:
    """The broker does not know this connection (it was restarted): say hello again."""


@frozen
class Refused:
    """The broker will not talk to this peer, and why (protocol version, key, role)."""

    reason: str


@frozen
class BrokerHeartbeat:
    """The broker lives."""


@frozen(kw_only=True)
class Heartbeat:
    """A worker lives and holds these attempts; a client sends it without any.

    Names every attempt the worker still means to answer for: this renews their leases, and after
    a restart of the broker claims them again.
    """

    running: tuple[tuple[TaskId, Fence], ...] = ()
    memory_free_mb: int = 0
    gpu_memory_free_mb: int = 0


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

# ---- worker to broker --------------------------------------------------------------------------


@frozen(kw_only=True)
class ResidentModel:
    """A model a worker has in memory."""

    model: str
    memory_mb: int
    pinned: bool = False


@frozen(kw_only=True)
class WorkerHello:
    """A worker introduces itself: what it is, can run and still holds."""

    oldest: int = OLDEST_PROTOCOL_VERSION
    newest: int = PROTOCOL_VERSION
    name: str
    """Unique in the cluster and stable over restarts of the process: ``host/cuda-0``."""
    node: str
    queue: str
    """Its home queue: the port it came in by."""
    device: DeviceKind
    device_name: str = ""
    gpu_memory_mb: int = 0
    memory_mb: int = 0
    cores: int = 1
    models: tuple[str, ...] = ()
    """Models it can run."""
    unavailable: Mapping[str, str] = field(factory=dict)
    """Models whose plugin is installed but which it cannot run, and why."""
    resident: tuple[ResidentModel, ...] = ()
    credit: int = 1
    """Assignments (batches) it holds at most at a time: 1 running, the rest prefetched."""
    running: tuple[tuple[TaskId, Fence], ...] = ()
    replaces: PeerId = PeerId(b"")  # noqa: RUF009 -- a NewType: only a name for the bytes
    """The connection this worker used before, now certainly dead."""


@frozen(kw_only=True)
class AttemptStarted:
    """The attempt has begun: loading its model, or running."""

    task_id: TaskId
    fence: Fence
    loading: bool = False


@frozen(kw_only=True)
class AttemptProgressed:
    """A step of the attempt is done; renews the lease. A preview payload may follow."""

    task_id: TaskId
    fence: Fence
    step: int
    total: int
    preview: tuple[PayloadInfo, ...] = ()


@frozen(kw_only=True)
class AttemptSucceeded:
    """The attempt is done; its output payloads follow. Repeated until AttemptRecorded."""

    task_id: TaskId
    fence: Fence
    outputs: tuple[PayloadInfo, ...]
    ran: float
    """Seconds inside ``run``, for this task's share of a batch."""


@frozen(kw_only=True)
class AttemptFailed:
    """The attempt ended in an error of the model. Repeated until AttemptRecorded."""

    task_id: TaskId
    fence: Fence
    error: TaskError
    ran: float = 0.0


@frozen(kw_only=True)
class AttemptCrashed:
    """The process that ran the attempt died, its supervisor confirms. Repeated until recorded."""

    task_id: TaskId
    fence: Fence
    alone: bool
    """Nothing else ran in the process, so this task is to blame."""
    detail: str
    """``killed by SIGSEGV``, ``exit status 1``, ``killed after 600 s run limit`` …: one line, then
    perhaps the last lines that the process printed."""
    timed_out: bool = False
    """The supervisor killed it itself, for running or stalling too long: a failed attempt of who
    ran alone. Of several nobody knows who took the time, so it is judged as a crash they shared."""


@frozen(kw_only=True)
class AttemptReturned:
    """The worker gives the attempt back unharmed: it was cancelled, or the worker drains."""

    task_id: TaskId
    fence: Fence
    cancelled: bool


@frozen(kw_only=True)
class ModelLoaded:
    """The model is resident now."""

    model: str
    seconds: float
    memory_mb: int
    pinned: bool = False


@frozen(kw_only=True)
class ModelUnloaded:
    """The model is no longer resident, or could not be loaded (``error``)."""

    model: str
    error: str = ""


@frozen
class Draining:
    """The worker takes nothing more: it will leave, or cannot run anything for now (``reason``).

    In the second case it says hello on a new connection once it can, and what it gives back until
    then is charged to nobody.
    """

    reason: str = ""
    """What is wrong with it: one line, then perhaps the last lines that its model host printed."""


@frozen
class WorkerGoodbye:
    """The worker leaves; whatever it held is to be given to others."""


FromWorker: TypeAlias = (
    WorkerHello
    | Heartbeat
    | AttemptStarted
    | AttemptProgressed
    | AttemptSucceeded
    | AttemptFailed
    | AttemptCrashed
    | AttemptReturned
    | ModelLoaded
    | ModelUnloaded
    | Draining
    | WorkerGoodbye
)

# ---- broker to worker --------------------------------------------------------------------------


@frozen(kw_only=True)
class WorkerWelcome:
    """The answer to WorkerHello."""

    incarnation: int
    heartbeat: float
    """Seconds between heartbeats the worker must send."""
    lease: float
    """Seconds without one after which the worker's attempts are given to others."""
    tasks_port: int = 0
    """Of the pipe by which this connection gets its tasks; 0: they come on the connection."""
    results_port: int = 0
    """Of the pipe by which the queue takes results; 0: on the connection."""


@frozen(kw_only=True)
class Assignment:
    """One task of an Assign."""

    task: TaskRequest
    fence: Fence
    run_limit: float


@frozen
class Assign:
    """Run these tasks, as one batch. Input payloads follow, task by task."""

    assignments: tuple[Assignment, ...]


@frozen(kw_only=True)
class Abandon:
    """Stop this attempt: it was cancelled, or lost to the worker. First asked through the model's
    context, then by replacing the process once ``grace`` seconds have passed.
    """

    task_id: TaskId
    fence: Fence
    grace: float


@frozen
class AttemptRecorded:
    """The broker has recorded this attempt's end, or refuses it as stale: stop repeating it."""

    task_id: TaskId
    fence: Fence


@frozen
class Preload:
    """Load this model while idle."""

    model: str


@frozen
class Drain:
    """Take nothing more; finish or hand back within ``grace`` seconds, then leave."""

    grace: float


ToWorker: TypeAlias = (
    WorkerWelcome
    | Assign
    | Abandon
    | AttemptRecorded
    | Preload
    | Drain
    | WhoAreYou
    | Refused
    | BrokerHeartbeat
)

ToBroker: TypeAlias = FromClient | FromWorker
FromBroker: TypeAlias = ToClient | ToWorker
Message: TypeAlias = ToBroker | FromBroker


def payloads_of(message: Message) -> tuple[PayloadInfo, ...]:
    """Return the descriptions of the payload frames that follow the message, in order."""
    match message:
        case Submit(task):
            return task.inputs
        case Assign(assignments):
            return tuple(info for item in assignments for info in item.task.inputs)
        case Finished(outputs=outputs) | AttemptSucceeded(outputs=outputs):
            return outputs
        case Progressed(preview=preview) | AttemptProgressed(preview=preview):
            return preview
        case _:
            return ()
