"""Statistics of one queue and of the whole broker at one moment. Plain values that fit into JSON.

Every accepted task is in exactly one state, so at any moment and for any queue
``accepted == waiting + running + succeeded + failed + cancelled + expired + dead``.

Counters grow from ``BrokerStatistics.since`` on: beside a durable journal they survive restarts of
the broker. With ``monitoring.enabled = false`` they count from its start, and what says so is zero.
"""

from collections.abc import Mapping

from attrs import Factory, define, field, frozen

BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 3600.0,
)  # fmt: skip
"""Seconds: the bounds of ``Durations.up_to``."""


@frozen(kw_only=True)
class Durations:
    """Many durations in seconds, from counts in buckets: each quantile is within 2.5 % or so."""

    count: int = 0
    """How many there were."""
    total: float = 0.0
    """Seconds of all together, exact."""
    p50: float = 0.0
    """Half of them took at most this long; 0 while there are none, as all that follows."""
    p90: float = 0.0
    p99: float = 0.0
    longest: float = 0.0
    up_to: tuple[int, ...] = ()
    """How many took at most each of ``BOUNDS`` seconds; empty while none did."""

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


@frozen(kw_only=True)
class QueueStatistics:
    """One queue. Fields are numbers of tasks unless they say otherwise.

    ``waiting`` and ``running`` are gauges. Endings are counted since ``BrokerStatistics.since``. A
    dead task that is requeued is subtracted from ``dead``.
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
    accepted: int = field(
        default=Factory(lambda queue: queue.waiting + queue.running + queue.ended, takes_self=True)
    )
    """Tasks sent to this queue and accepted, whatever state they are in; counted at acceptance."""
    rejected_by: Mapping[str, int] = field(factory=dict[str, int])
    """``rejected`` by the code of the refusal, such as ``queue_full``."""
    retries: int = 0
    """Attempts that ended without ending their task."""
    leases_lost: int = 0
    """Attempts whose worker fell silent."""
    crashes: int = 0
    """Attempts whose process died, confirmed by its supervisor."""
    throughput_1m: float = 0.0
    """Tasks that succeeded a second, as a moving average over one minute."""
    throughput_5m: float = 0.0
    throughput_15m: float = 0.0
    wait: Durations = field(factory=Durations)
    """From acceptance until the run began, loading the model included: of tasks that succeeded."""
    run: Durations = field(factory=Durations)
    """From the beginning of the run to its end: of tasks that succeeded."""
    total: Durations = field(factory=Durations)
    """From acceptance to the end: of tasks that succeeded."""
    capacity: int = 0
    """Tasks that may wait here (``queues.NAME.capacity``); 0: the queue is not configured."""
    max_bytes: int = 0
    """Bytes of input that may wait here (``queues.NAME.max_bytes``)."""
    updated_at: float = 0.0
    """When these figures were taken: broker time, Unix seconds. 0 while no broker runs."""

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.cancelled + self.expired + self.dead

    @property
    def in_any_state(self) -> int:
        """Tasks counted by where they stand; ``accepted`` if none was lost or counted twice."""
        return self.waiting + self.running + self.ended


@frozen(kw_only=True)
class ModelStatistics:
    """One model. Counters of tasks, unless they say otherwise."""

    name: str
    accepted: int = 0
    waiting: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    dead: int = 0
    retries: int = 0
    crashes: int = 0
    warm_starts: int = 0
    """Attempts that began with the model in memory already."""
    cold_starts: int = 0
    """Attempts that waited for the model to be loaded."""
    loads: int = 0
    """How often a worker loaded it."""
    load_failures: int = 0
    evictions: int = 0
    """How often it left a worker's memory: to make room, for being idle, or when a worker ended."""
    throughput_1m: float = 0.0
    """Tasks that succeeded a second, as a moving average over one minute."""
    wait: Durations = field(factory=Durations)
    run: Durations = field(factory=Durations)
    total: Durations = field(factory=Durations)
    load: Durations = field(factory=Durations)
    """What each load took."""


@frozen(kw_only=True)
class TenantStatistics:
    """One tenant; ``other`` sums up those beyond the first 200."""

    name: str
    accepted: int = 0
    waiting: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    """Ended in any other way than success."""
    run_seconds: float = 0.0
    """Worker time of the tasks that succeeded."""


@frozen(kw_only=True)
class WorkerStatistics:
    """One worker, by its name; ``other`` sums up those beyond the first 500.

    Attempts, unless it says otherwise.
    """

    name: str
    succeeded: int = 0
    failed: int = 0
    """Ended in any other way than success, cancelled ones included."""
    crashes: int = 0
    leases_lost: int = 0
    run_seconds: float = 0.0
    """Spent on attempts that succeeded."""
    loads: int = 0
    """Models loaded."""


@frozen(kw_only=True)
class GpuMetrics:
    """One GPU at one moment. Megabytes are 2**20 bytes."""

    name: str
    memory_used_mb: int
    memory_total_mb: int
    utilisation: float
    """Fraction of the time it was computing, from 0 to 1."""
    temperature: float = 0.0
    """Degrees Celsius; 0 where the driver does not tell."""
    power: float = 0.0
    """Watts; 0 where the driver does not tell."""


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
    """Resident memory of the process that measures: the broker's or the node's."""
    process_threads: int
    gpus: tuple[GpuMetrics, ...] = ()
    cores: int = 0
    """Cores that may be kept busy, by hardware, affinity and control groups; 0: not told."""
    memory_limit_mb: int = 0
    """Memory that may be filled, by hardware and control groups; 0: not told."""
    memory_in_group_mb: int = 0
    """Memory that the control group fills, of which the limit is; 0: not told."""


@frozen(kw_only=True)
class NodeStatistics:
    """A machine with workers, as one of them measured it last."""

    name: str
    workers: int = 0
    """Connected workers on it."""
    age: float = 0.0
    """Seconds since it was measured."""
    system: SystemMetrics | None = None
    """None: its workers are of an older version, or do not measure (``monitoring``)."""


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
    log_lines_dropped: int = 0
    """Lines of models that were dropped, as there were too many."""


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
    since: float = 0.0
    """When counting began, in broker time, Unix seconds: maybe long before this broker started."""
    updated_at: float = 0.0
    """When these figures were taken: broker time, Unix seconds."""
    rejected_by: Mapping[str, int] = field(factory=dict[str, int])
    """``rejected`` by the code of the refusal."""
    throughput_1m: float = 0.0
    """Tasks that succeeded a second, as a moving average over one minute."""
    throughput_5m: float = 0.0
    throughput_15m: float = 0.0
    wait: Durations = field(factory=Durations)
    run: Durations = field(factory=Durations)
    total_time: Durations = field(factory=Durations)
    """From acceptance to the end; ``total`` of a queue."""
    models: Mapping[str, ModelStatistics] = field(factory=dict[str, ModelStatistics])
    by_worker: Mapping[str, WorkerStatistics] = field(factory=dict[str, WorkerStatistics])
    """Shown to admins alone, as ``tenants``; everybody is an admin where no keys are asked for."""
    tenants: Mapping[str, TenantStatistics] = field(factory=dict[str, TenantStatistics])
    log_lines: int = 0
    """Lines that models have printed and logged since it started, as far as it was told of them."""
    nodes: Mapping[str, NodeStatistics] = field(factory=dict[str, NodeStatistics])
    """Machines with connected workers; shown to admins alone."""
    estimate_error: float = 0.0
    """How far the scheduler's expected run times are from the measured ones of late, as a share of
    the longer of the two: 0 is exact, 0.5 is off by a factor of two."""
    loop: Durations = field(factory=Durations)
    """Turns of the broker's loop since it started: the time in which it hears no other peer."""
    commits: Durations = field(factory=Durations)
    """From handing records to the journal until they were durable, since the broker started."""
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
        return self.accepted - self.total("in_any_state")
