"""What a worker is and how patient it is: the constants of a WorkerMachine."""

from collections.abc import Mapping

from attrs import field, frozen

from paintmq.task import DeviceKind, Fence, PeerId, TaskId
from paintmq.units import MIB
from paintmq.wire.messages import PROTOCOL_VERSION, ResidentModel, WorkerHello


@frozen(kw_only=True)
class WorkerProfile:
    """One worker as its node set it up: a device, a home queue, what it can run."""

    name: str
    """Unique in the cluster and stable over restarts: ``host/cuda-0``."""
    node: str
    queue: str
    device: DeviceKind = "cpu"
    device_name: str = "cpu"
    gpu_memory_mb: int = 0
    memory_mb: int = 0
    cores: int = 1
    models: tuple[str, ...] = ()
    unavailable: Mapping[str, str] = field(factory=dict)
    credit: int = 2
    pinned: tuple[str, ...] = ()
    """Models to load at start and never evict; those it cannot run are ignored."""
    budget_mb: int = 0
    """What resident models may fill together; 0 is unlimited."""
    growth_mb: int = 0
    """Growth of an idle host, over its size once warm, that gets it replaced; 0: never."""
    idle_exit: float | None = None
    """Seconds without work after which the model host is stopped, to give its memory back."""

    def hello(
        self,
        resident: tuple[ResidentModel, ...],
        running: tuple[tuple[TaskId, Fence], ...],
        replaces: PeerId,
    ) -> WorkerHello:
        return WorkerHello(
            newest=PROTOCOL_VERSION,
            name=self.name,
            node=self.node,
            queue=self.queue,
            device=self.device,
            device_name=self.device_name,
            gpu_memory_mb=self.gpu_memory_mb,
            memory_mb=self.memory_mb,
            cores=self.cores,
            models=self.models,
            unavailable=self.unavailable,
            resident=resident,
            credit=self.credit,
            running=running,
            replaces=replaces,
        )


@frozen(kw_only=True)
class WorkerTimers:
    """How long a worker waits for what, in seconds."""

    welcome_first: float = 2.0
    """For the answer to a hello; doubled with every connection that gets none."""
    welcome_most: float = 15.0
    beats_missed: int = 3
    """Heartbeats the broker may miss; then the connection counts as dead."""
    refused: float = 60.0
    """Before asking again a broker that refused this worker: it may have been upgraded."""
    record_first: float = 10.0
    """For AttemptRecorded, beyond the time the outputs need; doubled with every repeat."""
    record_most: float = 60.0
    bytes_per_second: float = 4 * MIB
    """The slowest network on which a result is given time to arrive before it is repeated."""
    host_start: float = 60.0
    """For a model host to import its plugins' manifests."""
    host_silence: float = 10.0
    """Without a beat of the host; ten times the beat."""
    host_exit: float = 30.0
    """For a host to end once it was killed; the worker takes nothing while one does not."""
    restart_most: float = 30.0
    """Between two starts of a host that keeps dying."""
    farewell: float = 2.0
    """For the last endings to be recorded when a drained worker leaves."""
