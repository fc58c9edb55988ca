"""Statistics of one queue and of the whole broker at one moment. Plain values that fit into JSON.

Every accepted task is in exactly one state, so at any moment and for any queue
``accepted == waiting + running + succeeded + failed + cancelled + expired + dead``.
"""

from collections.abc import Mapping

from attrs import define, field, frozen


@frozen(kw_only=True)
class QueueStatistics:
    """One queue. Fields are numbers of tasks unless they say otherwise.

    ``waiting`` and ``running`` are gauges. Endings are counted since the broker started and include
    those found in its journal. A dead task that is requeued is subtracted from ``dead``.
    """

    name: str
    port: int
    waiting: int = 0
    """Queued: not given to a worker yet, or returned by one."""
    running: int = 0
    """With a worker: leased, loading or running."""
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    dead: int = 0
    rejected: int = 0
    """Refused at submission because of this queue; never accepted, so not part of the balance."""
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
        """Tasks this queue has accepted, whatever state they are in."""
        return self.waiting + self.running + self.ended


@frozen(kw_only=True)
class GpuMetrics:
    """One GPU at one moment. Megabytes are 2**20 bytes."""

    name: str
    memory_used_mb: int
    memory_total_mb: int
    utilisation: float
    """Fraction of the time it was computing, from 0 to 1."""


@frozen(kw_only=True)
class SystemMetrics:
    """The machine at one moment. Megabytes are 2**20 bytes."""

    cpu: float
    """Fraction of all cores in use since the previous sample, from 0 to 1."""
    load: float
    """Load average over one minute."""
    memory_used_mb: int
    memory_total_mb: int
    process_memory_mb: int
    """Resident memory of this process."""
    process_threads: int
    gpus: tuple[GpuMetrics, ...] = ()


def is_worth_a_line(count: int) -> bool:
    """Return whether to log an event that has now happened this often: the 1st, 2nd, 4th, 8th …

    Whatever strangers can cause is logged so: a log that they can fill fills the disk.
    """
    return count.bit_count() == 1


@define(kw_only=True)
class ShellStatistics:
    """What the broker counts around its machine: sockets, threads, contained faults.

    The parts of the broker that count are handed this object. To add a statistic, add a field here
    and count it where it happens: it is in every answer and in ``paintmq status`` by itself. Each
    field is written by one thread only.
    """

    wire_errors: int = 0
    """Messages that broke the protocol."""
    connections_cut: int = 0
    """Connections cut because they sent too much of an unfinished message, or nothing at all."""
    handshakes_refused: int = 0
    """Connections refused because of their key."""
    slow_peers_dropped: int = 0
    """Peers dropped because they did not read what was sent to them."""
    faults: int = 0
    """Exceptions that were contained: each is in the log, with the input that caused it."""
    events_dropped: int = 0
    """Records that observing plugins were too slow for."""


@frozen(kw_only=True)
class BrokerStatistics:
    """The whole broker: its queues, and what does not belong to a single queue."""

    queues: Mapping[str, QueueStatistics] = field(factory=dict[str, QueueStatistics])
    workers: int = 0
    """Connected workers."""
    clients: int = 0
    """Connected clients."""
    accepted: int = 0
    """Tasks accepted, counted at acceptance: the left side of the balance."""
    rejected: int = 0
    """Refused at submission for any reason, also before a queue was chosen."""
    duplicates: int = 0
    """Repeated submissions of a task that was already accepted."""
    retries: int = 0
    """Attempts that ended without ending their task."""
    stale_answers: int = 0
    """Answers from workers whose fence was no longer current."""
    leases_lost: int = 0
    """Attempts whose worker fell silent."""
    crashes: int = 0
    """Attempts whose process died, confirmed by its supervisor."""
    router_faults: int = 0
    """Decisions in which the router raised or returned nonsense, so the first task was taken."""
    router_fault: str = ""
    """Description of the most recent router fault."""
    bytes_in_flight: int = 0
    """Bytes of input and output the broker holds."""
    uptime: float = 0.0
    """Seconds since this broker started."""
    shell: ShellStatistics = field(factory=ShellStatistics)
    """Counted around the machine."""
    system: SystemMetrics | None = None
    """The machine on which the sample was taken; only set in samples of the monitoring."""

    def total(self, field_name: str) -> int:
        """Return the sum of one counter over all queues, as in ``total("waiting")``."""
        return sum(int(getattr(queue, field_name)) for queue in self.queues.values())

    @property
    def unaccounted(self) -> int:
        """Accepted tasks that are in no state: not 0 only if a task was lost or counted twice."""
        return self.accepted - self.total("accepted")
