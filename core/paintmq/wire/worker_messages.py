"""Messages between workers and the broker."""

from collections.abc import Mapping
from typing import TypeAlias

from attrs import field, frozen

from paintmq.statistics import SystemMetrics
from paintmq.task import (
    DeviceKind,
    Fence,
    PayloadInfo,
    PeerId,
    TaskError,
    TaskId,
    TaskRequest,
)
from paintmq.wire.message_class import message
from paintmq.wire.shared_messages import (
    BrokerHeartbeat,
    Heartbeat,
    Refused,
    WhoAreYou,
)

# ---- worker to broker --------------------------------------------------------------------------


@frozen(kw_only=True)
class ResidentModel:
    """A model a worker has in memory."""

    model: str
    memory_mb: int
    pinned: bool = False


@message(0x40, large=True, hello=True)
@frozen(kw_only=True)
class WorkerHello:
    """A worker introduces itself: what it is, what it can run and what it still holds."""

    oldest: int = 1  # what a peer of version 1 leaves out: never to change
    newest: int = 1
    name: str
    """Unique in the cluster and stable over restarts of the process: ``host/cuda-0``."""
    node: str
    queue: str
    """Its home queue: the one whose port it connects to."""
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
    """Most assignments (batches) it holds at a time: 1 running, the rest prefetched."""
    running: tuple[tuple[TaskId, Fence], ...] = ()
    replaces: PeerId = PeerId(b"")  # noqa: RUF009 -- a NewType: only a name for the bytes
    """The previous connection of this worker, now certainly dead."""


@message(0x41)
@frozen(kw_only=True)
class AttemptStarted:
    """The attempt has begun: loading its model, or running."""

    task_id: TaskId
    fence: Fence
    loading: bool = False


@message(0x42, payloads="preview")
@frozen(kw_only=True)
class AttemptProgressed:
    """A step of the attempt is done; renews the lease. A preview payload may follow."""

    task_id: TaskId
    fence: Fence
    step: int
    total: int
    preview: tuple[PayloadInfo, ...] = ()


@message(0x43, work=True, runs=True, payloads="outputs")
@frozen(kw_only=True)
class AttemptSucceeded:
    """The attempt is done; its output payloads follow. Repeated until AttemptRecorded."""

    task_id: TaskId
    fence: Fence
    outputs: tuple[PayloadInfo, ...]
    ran: float
    """Seconds inside ``run``, for this task's share of a batch."""


@message(0x44)
@frozen(kw_only=True)
class AttemptFailed:
    """The attempt ended in an error of the model. Repeated until AttemptRecorded."""

    task_id: TaskId
    fence: Fence
    error: TaskError
    ran: float = 0.0


@message(0x45)
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
    """The supervisor killed the process for running or stalling too long. A task that ran alone has
    failed then; with several it is unknown which is to blame, so it is a shared crash."""


@message(0x46)
@frozen(kw_only=True)
class AttemptReturned:
    """The worker gives the attempt back unharmed: it was cancelled, or the worker drains."""

    task_id: TaskId
    fence: Fence
    cancelled: bool


@message(0x47)
@frozen(kw_only=True)
class ModelLoaded:
    """The model is resident now."""

    model: str
    seconds: float
    memory_mb: int
    pinned: bool = False


@message(0x48)
@frozen(kw_only=True)
class ModelUnloaded:
    """The model is no longer resident, or could not be loaded (``error``)."""

    model: str
    error: str = ""


@message(0x49)
@frozen
class Draining:
    """The worker takes nothing more: it will leave, or cannot run anything for now (``reason``).

    In the second case it says hello on a new connection once it can, and what it gives back until
    then is charged to no task.
    """

    reason: str = ""
    """What is wrong: one line, then perhaps the last lines that its model host printed."""


@message(0x4A)
@frozen
class WorkerGoodbye:
    """The worker leaves; whatever it held is to be given to others."""


@frozen(kw_only=True)
class LogLine:
    """A line that a model, or a library below it, has printed or logged."""

    text: str
    level: int = 0
    """As Python's: 10 debug, 20 info, 30 warning, 40 error, 50 critical; 0: it was printed."""
    tasks: tuple[TaskId, ...] = ()
    """Those it is of: all of a batch, as one run serves them; none: of the worker alone."""
    age: float = 0.0
    """Seconds since the worker has heard it."""


@message(0x4B)
@frozen(kw_only=True)
class ModelLogged:
    """What models of the worker have printed and logged; lossy by contract. Said to brokers whose
    WorkerWelcome ``observes``.
    """

    lines: tuple[LogLine, ...] = ()
    dropped: int = 0
    """Lines before these that were dropped, as there were too many."""


@message(0x4C)
@frozen(kw_only=True)
class NodeMeasured:
    """The worker's machine, measured: by one worker of a node at a time, as often as its
    heartbeats. Said to brokers whose WorkerWelcome ``observes``.
    """

    system: SystemMetrics


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
    | ModelLogged
    | NodeMeasured
)

# ---- broker to worker --------------------------------------------------------------------------


@message(0x60)
@frozen(kw_only=True)
class WorkerWelcome:
    """The answer to WorkerHello."""

    incarnation: int
    heartbeat: float
    """Seconds between heartbeats the worker must send."""
    lease: float
    """Seconds without one after which the worker's attempts are given to others."""
    tasks_port: int = 0
    """Of the pipe that brings this connection its tasks; 0: they come on the connection itself."""
    results_port: int = 0
    """Of the pipe that takes the results of the queue; 0: the connection itself."""
    observes: bool = False
    """Whether the broker takes ModelLogged and NodeMeasured; it says so to workers of version 4."""
    newest: int = 3
    """The newest version that the broker speaks, told to peers of version 4 and newer."""


@frozen(kw_only=True)
class Assignment:
    """One task of an Assign."""

    task: TaskRequest
    fence: Fence
    run_limit: float


def _inputs(assign: "Assign") -> tuple[PayloadInfo, ...]:
    return tuple(info for item in assign.assignments for info in item.task.inputs)


@message(0x61, large=True, work=True, payloads=_inputs)
@frozen
class Assign:
    """Run these tasks, as one batch. Input payloads follow, task by task."""

    assignments: tuple[Assignment, ...]


@message(0x62)
@frozen(kw_only=True)
class Abandon:
    """Stop this attempt: it was cancelled, or its lease was lost. The worker first asks through the
    model's context, and replaces the process once ``grace`` seconds have passed.
    """

    task_id: TaskId
    fence: Fence
    grace: float


@message(0x63, runs=True)
@frozen
class AttemptRecorded:
    """The broker has recorded this attempt's end, or refuses it as stale: stop repeating it."""

    task_id: TaskId
    fence: Fence


@message(0x64)
@frozen
class Preload:
    """Load this model while idle."""

    model: str


@message(0x65)
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
