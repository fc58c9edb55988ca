"""Prometheus: the statistics of a broker as metrics, for ``/metrics`` or on a port of their own.

``paintmq http`` serves them at ``/metrics``, fresh at each scrape, to tokens of the roles
``metrics`` and ``admin``, with::

    [http]
    apis = ["v1", "metrics"]

A broker without a gateway serves them by itself, as old as ``monitoring.metrics_interval`` says::

    [plugins.settings.prometheus]
    port = 9550

Both need the extra ``prometheus``.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from paintmq.units import MIB

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from paintmq.hookspecs import RegisterHttpApi
    from paintmq.statistics import BrokerStatistics, Durations, GpuMetrics, SystemMetrics

STATES = ("succeeded", "failed", "cancelled", "expired")
"""Endings that only grow in number; dead tasks may be requeued, so they are a gauge."""

MISSING = (
    "the metrics need the package prometheus_client: install it with "
    "pip install 'paintmq[prometheus]'"
)


class Collector:
    """Yields the metrics of the latest statistics; a collector of ``prometheus_client``."""

    def __init__(self) -> None:
        self.statistics: BrokerStatistics | None = None

    def collect(self) -> "Iterable[Metric]":
        return () if self.statistics is None else metrics(self.statistics)

    def describe(self) -> "Iterable[Metric]":
        return ()  # so that registering it collects nothing


def render(statistics: "BrokerStatistics") -> tuple[bytes, str]:
    """Return the metrics in Prometheus' text format, and its content type.

    Raises:
        ImportError: ``prometheus_client`` is not installed.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    registry, collector = CollectorRegistry(), Collector()
    collector.statistics = statistics
    registry.register(collector)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def metrics(statistics: "BrokerStatistics") -> "Iterator[Metric]":
    """Give every metric. Names, units and types follow Prometheus' conventions."""
    yield from _of_queues(statistics)
    yield from _of_models(statistics)
    yield from _of_names(statistics)
    yield from _of_nodes(statistics)
    yield from _of_broker(statistics)


def _of_queues(statistics: "BrokerStatistics") -> "Iterator[Metric]":
    queues = list(statistics.queues.values())

    def counter(name: str, text: str, field: str) -> "Metric":
        return _counter(name, text, ["queue"], [((q.name,), getattr(q, field)) for q in queues])

    def gauge(name: str, text: str, field: str) -> "Metric":
        return _gauge(name, text, ["queue"], [((q.name,), getattr(q, field)) for q in queues])

    def histogram(name: str, text: str, field: str) -> "Metric":
        return _histogram(name, text, ["queue"], [((q.name,), getattr(q, field)) for q in queues])

    yield counter("paintmq_tasks_accepted", "Tasks accepted.", "accepted")
    yield _counter(
        "paintmq_tasks_ended",
        "Tasks that ended, by how; dead ones are in paintmq_tasks_dead.",
        ["queue", "state"],
        [((q.name, state), getattr(q, state)) for q in queues for state in STATES],
    )
    yield gauge("paintmq_tasks_dead", "Dead letters so far, less those that were requeued.", "dead")
    yield gauge("paintmq_tasks_waiting", "Tasks that wait for a worker.", "waiting")
    yield gauge("paintmq_tasks_running", "Tasks that a worker holds.", "running")
    yield counter("paintmq_task_retries", "Attempts that did not end their task.", "retries")
    yield counter("paintmq_leases_lost", "Attempts whose worker fell silent.", "leases_lost")
    yield counter("paintmq_attempts_crashed", "Attempts whose process died.", "crashes")
    yield gauge("paintmq_queue_waiting_bytes", "Input of waiting tasks.", "bytes_waiting")
    yield gauge("paintmq_queue_capacity_tasks", "Tasks that may wait.", "capacity")
    yield gauge("paintmq_queue_capacity_bytes", "Input that may wait.", "max_bytes")
    yield gauge("paintmq_queue_oldest_wait_seconds", "Age of the longest wait.", "oldest_wait")
    yield gauge("paintmq_queue_expected_work_seconds", "Work waiting and running.", "expected_work")
    yield gauge("paintmq_workers", "Connected workers, by their home queue.", "workers")
    yield histogram("paintmq_task_wait_seconds", "From acceptance to the run.", "wait")
    yield histogram("paintmq_task_run_seconds", "Duration of successful runs.", "run")
    yield histogram("paintmq_task_duration_seconds", "From acceptance to success.", "total")


def _of_models(statistics: "BrokerStatistics") -> "Iterator[Metric]":
    models = list(statistics.models.values())

    def counter(name: str, text: str, field: str) -> "Metric":
        return _counter(name, text, ["model"], [((m.name,), getattr(m, field)) for m in models])

    yield counter("paintmq_model_tasks_accepted", "Tasks accepted for the model.", "accepted")
    yield counter("paintmq_model_tasks_succeeded", "Its tasks that succeeded.", "succeeded")
    yield counter("paintmq_model_warm_starts", "Attempts that found it in memory.", "warm_starts")
    yield counter(
        "paintmq_model_cold_starts", "Attempts that waited for it to load.", "cold_starts"
    )
    yield counter("paintmq_model_loads", "Times it was loaded.", "loads")
    yield counter("paintmq_model_load_failures", "Times it could not be loaded.", "load_failures")
    yield counter("paintmq_model_evictions", "Times it left a worker's memory.", "evictions")
    for name, text, field in (
        ("paintmq_model_run_seconds", "Duration of its successful runs.", "run"),
        ("paintmq_model_load_seconds", "Duration of its loads.", "load"),
    ):
        yield _histogram(name, text, ["model"], [((m.name,), getattr(m, field)) for m in models])


def _of_names(statistics: "BrokerStatistics") -> "Iterator[Metric]":
    tenants = list(statistics.tenants.values())
    yield _counter(
        "paintmq_tenant_tasks_accepted",
        "Tasks accepted, by tenant; those beyond the first 200 are called other.",
        ["tenant"],
        [((each.name,), each.accepted) for each in tenants],
    )
    yield _counter(
        "paintmq_tenant_run_seconds",
        "Worker time of the successful tasks of a tenant.",
        ["tenant"],
        [((each.name,), each.run_seconds) for each in tenants],
    )
    workers = list(statistics.by_worker.values())
    yield _counter(
        "paintmq_worker_run_seconds",
        "Time a worker spent on attempts that succeeded.",
        ["worker"],
        [((each.name,), each.run_seconds) for each in workers],
    )
    yield _counter(
        "paintmq_worker_attempts",
        "Attempts of a worker, by outcome.",
        ["worker", "outcome"],
        [
            ((each.name, outcome), getattr(each, outcome))
            for each in workers
            for outcome in ("succeeded", "failed")
        ],
    )


def _of_nodes(statistics: "BrokerStatistics") -> "Iterator[Metric]":
    """Give the load of machines, as they were measured last."""
    nodes = [(each.name, each.system) for each in statistics.nodes.values() if each.system]
    gpus = [
        ((name, str(place), gpu.name), gpu)
        for name, system in nodes
        for place, gpu in enumerate(system.gpus)
    ]

    def of_node(name: str, text: str, read: "Callable[[SystemMetrics], float]") -> "Metric":
        return _gauge(name, text, ["node"], [((node,), read(system)) for node, system in nodes])

    def of_gpu(name: str, text: str, read: "Callable[[GpuMetrics], float]") -> "Metric":
        values = [(labels, read(gpu)) for labels, gpu in gpus]
        return _gauge(name, text, ["node", "gpu", "gpu_name"], values)

    yield of_node("paintmq_node_cpu_ratio", "Cores in use, of all.", lambda it: it.cpu)
    yield of_node("paintmq_node_load1", "Load average over one minute.", lambda it: it.load)
    yield of_node("paintmq_node_cores", "Cores that may be kept busy.", lambda it: it.cores)
    yield of_node(
        "paintmq_node_memory_used_bytes", "Memory in use.", lambda it: it.memory_used_mb * MIB
    )
    yield of_node(
        "paintmq_node_memory_bytes",
        "Memory that may be filled, by hardware and control groups.",
        lambda it: (it.memory_limit_mb or it.memory_total_mb) * MIB,
    )
    yield of_node(
        "paintmq_node_memory_group_used_bytes",
        "Memory that the node's control group fills; 0 without a limit.",
        lambda it: it.memory_in_group_mb * MIB,
    )
    yield of_gpu("paintmq_gpu_utilisation_ratio", "Time it computed.", lambda it: it.utilisation)
    yield of_gpu(
        "paintmq_gpu_memory_used_bytes", "Its memory in use.", lambda it: it.memory_used_mb * MIB
    )
    yield of_gpu("paintmq_gpu_memory_bytes", "Its memory.", lambda it: it.memory_total_mb * MIB)
    yield of_gpu(
        "paintmq_gpu_temperature_celsius", "0: its driver does not tell.", lambda it: it.temperature
    )
    yield of_gpu("paintmq_gpu_power_watts", "0: its driver does not tell.", lambda it: it.power)


def _of_broker(statistics: "BrokerStatistics") -> "Iterator[Metric]":
    def gauge(name: str, text: str, value: float) -> "Metric":
        return _gauge(name, text, [], [((), value)])

    yield _counter(
        "paintmq_tasks_rejected",
        "Tasks refused at submission, by the code of the refusal.",
        ["reason"],
        [((code,), count) for code, count in statistics.rejected_by.items()],
    )
    yield gauge("paintmq_clients", "Connected clients.", statistics.clients)
    yield _counter("paintmq_log_lines", "Lines of models.", [], [((), statistics.log_lines)])
    yield gauge("paintmq_held_bytes", "Input and output held.", statistics.bytes_in_flight)
    yield gauge("paintmq_broker_uptime_seconds", "Since the broker started.", statistics.uptime)
    yield gauge(
        "paintmq_counting_since_timestamp_seconds",
        "When counting began, over restarts of the broker.",
        statistics.since,
    )
    yield gauge(
        "paintmq_statistics_timestamp_seconds",
        "When these figures were taken.",
        statistics.updated_at,
    )
    yield gauge(
        "paintmq_estimate_error_ratio",
        "How far expected run times are from measured ones: 0 is exact.",
        statistics.estimate_error,
    )
    yield gauge(
        "paintmq_tasks_unaccounted",
        "Accepted tasks that are in no state; anything but 0 is a bug.",
        statistics.unaccounted,
    )
    yield _histogram("paintmq_loop_turn_seconds", "Turns of the loop.", [], [((), statistics.loop)])
    yield _histogram(
        "paintmq_journal_commit_seconds", "Until durable.", [], [((), statistics.commits)]
    )
    shell = statistics.shell
    yield _counter(
        "paintmq_incidents",
        "What was counted around the broker, by kind.",
        ["kind"],
        [
            ((kind,), getattr(shell, kind))
            for kind in (
                "wire_errors",
                "connections_cut",
                "handshakes_refused",
                "slow_peers_dropped",
                "faults",
                "events_dropped",
                "log_lines_dropped",
            )
        ],
    )


_Labelled = Sequence[tuple[tuple[str, ...], Any]]


def _counter(name: str, text: str, labels: Sequence[str], values: _Labelled) -> "Metric":
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], values: _Labelled) -> "Metric":
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family


def _histogram(name: str, text: str, labels: Sequence[str], values: _Labelled) -> "Metric":
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=labels)
    for label, durations in values:
        family.add_metric(label, _buckets(durations), durations.total)
    return family


def _buckets(durations: "Durations") -> list[tuple[str, float]]:
    from paintmq.statistics import BOUNDS

    counts = durations.up_to or (0,) * len(BOUNDS)
    return [
        *((str(bound), count) for bound, count in zip(BOUNDS, counts, strict=True)),
        ("+Inf", durations.count),
    ]


# ---- as a plugin ---------------------------------------------------------------------------------


class Exporter:
    """Serves the latest sample on a port, from the first sample on."""

    def __init__(self) -> None:
        self.port: int | None = None
        self.host = "127.0.0.1"
        self._collector = Collector()
        self._lock = threading.Lock()
        self._server: tuple[Any, threading.Thread] | None = None

    def configure(self, settings: Mapping[str, Any]) -> None:
        unknown = settings.keys() - {"port", "host"}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; there are port and host")
        port, host = settings.get("port"), settings.get("host", self.host)
        if port is not None and (type(port) is not int or not 0 < port < 65_536):
            raise ValueError(f"port = {port!r} is no port: use 1 to 65535")
        if not isinstance(host, str):
            raise ValueError(f"host = {host!r} is no address")  # noqa: TRY004 -- as the hook says
        self.port, self.host = port, host

    def show(self, sample: "BrokerStatistics") -> None:
        self._collector.statistics = sample
        with self._lock:
            if self.port is None or self._server is not None:
                return
            try:
                from prometheus_client import CollectorRegistry, start_http_server
            except ImportError as error:
                self.port = None  # said once is enough
                raise RuntimeError(MISSING) from error
            registry = CollectorRegistry()
            registry.register(self._collector)
            self._server = start_http_server(self.port, self.host, registry)

    def close(self) -> None:
        """Stop serving. Harmless to repeat."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server[0].shutdown()
            server[0].server_close()
            server[1].join()


_exporter = Exporter()


def paintmq_register_http_apis(register: "RegisterHttpApi") -> None:
    register("metrics", "paintmq_plugins.prometheus_api:metrics_api")


def paintmq_configure(settings: Mapping[str, Any]) -> None:
    _exporter.configure(settings)


def paintmq_statistics(sample: "BrokerStatistics") -> None:
    _exporter.show(sample)
