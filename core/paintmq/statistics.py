"""What is counted: one queue, and the whole broker, at one moment. Plain values, JSON-able.

Every accepted task stands in exactly one place, so at any moment and for any queue
``accepted == waiting + running + succeeded + failed + cancelled + expired + dead``.
"""

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class QueueStatistics:
    """One queue. Numbers of tasks, unless a field says otherwise.

    ``waiting`` and ``running`` are gauges of this moment; the endings are counted since the broker
    started, those that it found in its journal included. A task that is requeued from the dead
    leaves ``dead``.
    """

    name: str
    port: int
    waiting: int = 0
    """Queued: not with a worker, or back from one."""
    running: int = 0
    """With a worker: leased, loading or running."""
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    dead: int = 0
    rejected: int = 0
    """Refused at submission for this queue's sake (full); never accepted, so not in the balance."""
    bytes_waiting: int = 0
    """Bytes of input of the waiting tasks."""
    workers: int = 0
    """Connected workers whose home queue this is."""
    expected_work: float = 0.0
    """Seconds of expected work, waiting and running."""
    oldest_wait: float = 0.0
    """Seconds the longest-waiting task has waited; 0 when none waits."""

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.cancelled + self.expired + self.dead

    @property
    def accepted(self) -> int:
        """Tasks this queue has ever taken and that stand somewhere."""
        return self.waiting + self.running + self.ended


@frozen(kw_only=True)
class GpuMetrics:
    """One GPU at one moment. Megabytes are 2**20 bytes."""

    name: str
    memory_used_mb: int
    memory_total_mb: int
    utilisation: float
    """Share of the time it computed, from 0 to 1."""


@frozen(kw_only=True)
class SystemMetrics:
    """The machine at one moment. Megabytes are 2**20 bytes."""

    cpu: float
    """Share of all cores in use since the sample before, from 0 to 1."""
    load: float
    """Processes that want to run, averaged over a minute."""
    memory_used_mb: int
    memory_total_mb: int
    process_memory_mb: int
    """Resident memory of this process."""
    process_threads: int
    gpus: tuple[GpuMetrics, ...] = ()


@frozen(kw_only=True)
class BrokerStatistics:
    """The whole broker: its queues, and what cannot be said of one queue."""

    queues: Mapping[str, QueueStatistics] = field(factory=dict[str, QueueStatistics])
    workers: int = 0
    """Connected workers."""
    clients: int = 0
    """Connected clients."""
    accepted: int = 0
    """Tasks accepted, counted when it happens: the left side of the balance."""
    rejected: int = 0
    """Refused at submission for any reason, those without a queue included."""
    duplicates: int = 0
    """Submissions of a task that was already accepted."""
    retries: int = 0
    """Attempts that ended without ending their task."""
    stale_answers: int = 0
    """Answers of workers whose attempt was no longer theirs."""
    leases_lost: int = 0
    """Attempts whose worker fell silent."""
    crashes: int = 0
    """Attempts whose process died, confirmed by its supervisor."""
    router_faults: int = 0
    """Decisions in which the router raised or made no sense, so that the first task was taken."""
    router_fault: str = ""
    """What the last of them was."""
    bytes_in_flight: int = 0
    """Bytes of input and output the broker holds."""
    uptime: float = 0.0
    """Seconds since this broker started."""
    system: SystemMetrics | None = None
    """The machine the sample was taken on; only in samples of the monitoring."""

    def total(self, field_name: str) -> int:
        """Return the sum of one counter over all queues, such as ``total("waiting")``."""
        return sum(int(getattr(queue, field_name)) for queue in self.queues.values())

    @property
    def unaccounted(self) -> int:
        """Accepted tasks that stand nowhere: 0, or a task was lost or counted twice."""
        return self.accepted - self.total("accepted")
