"""What an agent and its model host say to each other: frozen values, two closed unions.

The host is a child process at the other end of a socketpair (``channel/framing.py`` frames the
messages). Orders go down, facts come up. Payload bytes follow a message in the order of its
PayloadInfos, exactly as they do between broker and worker.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from paintmq.task import DeviceKind, Fence, PayloadInfo, TaskError, TaskId
from paintmq.worker.channel.spec_outline import SpecOutline

Key: TypeAlias = tuple[TaskId, Fence]
"""Names one attempt."""

# ---- agent to host -----------------------------------------------------------------------------


@frozen
class MarkPlace:
    """Where a host marks the batch it is working on (``batch_mark.py``); an empty path: nowhere."""

    path: str = ""
    run: str = ""
    """Which run of the worker the notes are of."""


@frozen(kw_only=True)
class Configure:
    """First message: everything the host must know before it imports a model."""

    worker: str
    device: DeviceKind
    device_name: str = "cpu"
    device_memory_mb: int = 0
    threads: int = 1
    scratch: str
    """Folder of this host alone; the agent removes it once the host is gone."""
    mark: MarkPlace = MarkPlace()
    """Where to mark the batch being touched."""
    path: tuple[str, ...] = ()
    """The agent's ``sys.path``: the host finds the same plugins."""
    models: tuple[SpecOutline, ...] = ()
    """Models the host may be asked for; specs of installed plugins take precedence."""
    plugins: Mapping[str, Any] = field(factory=dict)
    """The PluginsConfig, as plain data."""
    weights: Mapping[str, Any] = field(factory=dict)
    """The WeightsConfig, as plain data."""
    limits: Mapping[str, Any] = field(factory=dict)
    """The Limits, as plain data."""


@frozen
class Load:
    """Load this model; answered by HostLoaded or HostLoadFailed."""

    model: str


@frozen
class Unload:
    """Drop this model; answered by HostUnloaded."""

    model: str


@frozen(kw_only=True)
class RunItem:
    """One attempt of a batch."""

    task_id: TaskId
    fence: Fence
    task_type: str
    options: Mapping[str, Any]
    inputs: tuple[PayloadInfo, ...]
    trace: str = ""
    """The context of its trace, if there is one."""


@frozen(kw_only=True)
class Run:
    """Run these attempts as one batch of a loaded model; each is answered by an Outcome."""

    batch: int
    model: str
    items: tuple[RunItem, ...]


@frozen
class CancelItem:
    """Ask the model to stop this attempt. It ends in an Outcome all the same."""

    task_id: TaskId
    fence: Fence


@frozen
class Shutdown:
    """Unload everything and exit."""


ToHost: TypeAlias = Configure | Load | Unload | Run | CancelItem | Shutdown

# ---- host to agent -----------------------------------------------------------------------------


@frozen
class HostReady:
    """The host has started and knows its plugins."""


@frozen(kw_only=True)
class HostBeat:
    """The host's I/O thread lives; sent every second whatever the model does."""

    memory_mb: int
    """Resident set size of the process."""
    gpu_memory_free_mb: int = 0


@frozen(kw_only=True)
class HostLoaded:
    """The model is ready to run."""

    model: str
    seconds: float
    memory_mb: int


@frozen(kw_only=True)
class HostLoadFailed:
    """The model could not be loaded."""

    model: str
    error: TaskError


@frozen
class HostUnloaded:
    """The model was unloaded."""

    model: str


@frozen
class BatchBegun:
    """The batch's payloads are touched from now on: a crash may be its doing.

    Only a host says so that cannot mark it where its agent looks: see ``batch_mark.py``.
    """

    batch: int


@frozen(kw_only=True)
class BatchProgressed:
    """The batch has done ``step`` of ``total``. A preview of its first attempt may follow."""

    batch: int
    step: int
    total: int
    preview: tuple[PayloadInfo, ...] = ()


@frozen
class BatchSplit:
    """The batch failed as a whole; its attempts are now tried one by one."""

    batch: int


@frozen(kw_only=True)
class Outcome:
    """How one attempt ended."""

    task_id: TaskId
    fence: Fence
    ending: Literal["succeeded", "failed", "cancelled"]
    outputs: tuple[PayloadInfo, ...] = ()
    error: TaskError | None = None
    """Set if and only if it failed."""
    ran: float = 0.0
    """Seconds inside ``run``: the attempt's share of its batch."""


@frozen(kw_only=True)
class AttemptsEnded:
    """These attempts of a batch are over, perhaps not yet all; outputs follow in order."""

    batch: int
    outcomes: tuple[Outcome, ...]
    memory_mb: int = 0
    """Resident set size afterwards; a leak shows here."""


@frozen
class HostLeaving:
    """The process is no longer usable (a sticky CUDA error, say) and exits by itself."""

    reason: str


FromHost: TypeAlias = (
    HostReady
    | HostBeat
    | HostLoaded
    | HostLoadFailed
    | HostUnloaded
    | BatchBegun
    | BatchProgressed
    | BatchSplit
    | AttemptsEnded
    | HostLeaving
)

HostMessage: TypeAlias = ToHost | FromHost


def payloads_of_host_message(message: HostMessage) -> tuple[PayloadInfo, ...]:
    """Return the descriptions of the payloads that follow the message, in order."""
    match message:
        case Run(items=items):
            return tuple(info for item in items for info in item.inputs)
        case AttemptsEnded(outcomes=outcomes):
            return tuple(info for outcome in outcomes for info in outcome.outputs)
        case BatchProgressed(preview=preview):
            return preview
        case _:
            return ()
