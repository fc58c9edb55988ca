"""OpenTelemetry: traces of tasks and metrics of the broker, sent to a collector by OTLP over HTTP.

Off until it is told where to::

    [plugins.settings.opentelemetry]
    endpoint = "http://127.0.0.1:4318"

in the settings of the broker and of the nodes. It needs the extra ``opentelemetry``. Programs that
submit tasks and use OpenTelemetry's SDK need no setting: their tasks continue their traces.

One trace holds of a task: ``task MODEL`` of the client, ``wait`` and ``attempt`` of the broker, and
``run MODEL`` of the worker's process, which is current while the model runs, so that what a model
traces itself belongs to it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import define, field, frozen

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

    from paintmq.statistics import BrokerStatistics, Durations

MOST_TASKS = 100_000
"""Traced tasks that are followed at once; of the oldest ones beyond, later spans are left out."""
FLUSH_SECONDS = 1.0
"""Between two messages to the collector with spans: a model host may be ended at any time."""
MISSING = (
    "it needs OpenTelemetry's SDK and exporter: install them with "
    "pip install 'paintmq[opentelemetry]'"
)


@frozen(kw_only=True)
class Settings:
    """What ``[plugins.settings.opentelemetry]`` says."""

    endpoint: str = ""
    """Of the collector; the paths ``/v1/traces`` and ``/v1/metrics`` are appended."""
    service_name: str = "paintmq"
    traces: bool = True
    metrics: bool = True
    headers: Mapping[str, str] = field(factory=dict[str, str])
    """Sent with every request, such as an authorisation."""


def read_settings(table: Mapping[str, Any]) -> Settings:
    """Return the settings.

    Raises:
        ValueError: something is wrong with them.
    """
    kinds = {"endpoint": str, "service_name": str, "traces": bool, "metrics": bool, "headers": dict}
    for name, value in table.items():
        if name not in kinds:
            raise ValueError(f"unknown: {name}; there are {', '.join(kinds)}")
        if type(value) is not kinds[name]:
            raise ValueError(f"{name} = {value!r} must be a {kinds[name].__name__}")
    endpoint = str(table.get("endpoint", ""))
    if table and not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"endpoint = {endpoint!r} must be an address such as http://HOST:4318")
    return Settings(**table)


@frozen
class _Traced:
    parent: Any
    """OpenTelemetry's context of the submission."""
    since: float
    """When it was accepted or put back, or leased: broker time."""
    is_leased: bool = False


@define(eq=False)
class TaskSpans:
    """Makes spans of a broker's events."""

    _tracer: Any
    _tasks: "OrderedDict[str, _Traced]" = field(factory=OrderedDict[str, _Traced], init=False)

    def observe(self, batch: Iterable[Mapping[str, Any]]) -> None:
        for event in batch:
            if event["event"] == "accept" and event.get("trace"):
                self._accepted(event)
            elif (traced := self._tasks.get(event.get("task_id", ""))) is not None:
                self._changed(event, traced)

    def _accepted(self, event: Mapping[str, Any]) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract({"traceparent": event["trace"]})
        self._tasks[event["task_id"]] = _Traced(parent, event["at"])
        if len(self._tasks) > MOST_TASKS:
            self._tasks.popitem(last=False)

    def _changed(self, event: Mapping[str, Any], traced: _Traced) -> None:
        kind, task_id = event["event"], event["task_id"]
        since = traced.since
        at = event.get("ended_at") or event.get("at") or event.get("leased_at") or since
        failed = event.get("state") != "succeeded"
        if kind == "lease":
            self._span("wait", event, traced, at)
            self._tasks[task_id] = _Traced(traced.parent, at, is_leased=True)
        elif kind == "requeue":
            self._span("attempt", event, traced, at, failed=True)
            self._tasks[task_id] = _Traced(traced.parent, at)
        elif kind == "finish":
            self._span("attempt" if traced.is_leased else "wait", event, traced, at, failed=failed)
            del self._tasks[task_id]

    def _span(
        self,
        name: Literal["wait", "attempt"],
        event: Mapping[str, Any],
        traced: _Traced,
        ends: float,
        *,
        failed: bool = False,
    ) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        attributes = {
            f"paintmq.{key}": event[key]
            for key in ("task_id", "model", "queue", "tenant", "worker", "attempt", "state")
            if event.get(key) not in (None, "")
        }
        span = self._tracer.start_span(
            name,
            context=traced.parent,
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            start_time=int(traced.since * 1e9),
        )
        if failed:
            span.set_status(Status(StatusCode.ERROR, str(event.get("error") or event["state"])))
        span.end(end_time=int(max(traced.since, ends) * 1e9))


@define(eq=False)
class BrokerMetrics:
    """Shows the latest sample when the SDK asks for it."""

    sample: "BrokerStatistics | None" = None

    def register(self, meter: Any) -> None:
        """Make the instruments."""
        for name, unit, text, read in (
            ("paintmq.tasks.accepted", "{task}", "Tasks accepted.", "accepted"),
            ("paintmq.tasks.succeeded", "{task}", "Tasks that succeeded.", "succeeded"),
            ("paintmq.tasks.failed", "{task}", "Tasks that failed.", "failed"),
            ("paintmq.tasks.cancelled", "{task}", "Tasks that were cancelled.", "cancelled"),
            ("paintmq.tasks.expired", "{task}", "Tasks that expired.", "expired"),
            ("paintmq.task.retries", "{attempt}", "Attempts that ended no task.", "retries"),
        ):
            meter.create_observable_counter(name, [self._queues(read)], unit, text)
        for name, unit, text, read in (
            ("paintmq.tasks.waiting", "{task}", "Tasks that wait for a worker.", "waiting"),
            ("paintmq.tasks.running", "{task}", "Tasks that a worker holds.", "running"),
            ("paintmq.tasks.dead", "{task}", "Dead letters.", "dead"),
            ("paintmq.workers", "{worker}", "Connected workers.", "workers"),
            ("paintmq.queue.oldest_wait", "s", "Age of the longest wait.", "oldest_wait"),
        ):
            meter.create_observable_gauge(name, [self._queues(read)], unit, text)
        for name, text, read in (
            ("paintmq.task.wait", "From acceptance to the run.", "wait"),
            ("paintmq.task.run", "Duration of successful runs.", "run"),
        ):
            meter.create_observable_gauge(name, [self._quantiles(read)], "s", text)
        meter.create_observable_gauge(
            "paintmq.node.cpu", [self._nodes("cpu")], "1", "Cores in use, of all."
        )
        meter.create_observable_gauge(
            "paintmq.node.memory", [self._nodes("memory_used_mb")], "MiBy", "Memory in use."
        )

    def _queues(self, name: str) -> Any:
        def observe(options: "CallbackOptions") -> "Iterable[Observation]":
            from opentelemetry.metrics import Observation

            queues = {} if self.sample is None else self.sample.queues
            return [
                Observation(getattr(q, name), {"paintmq.queue": q.name}) for q in queues.values()
            ]

        return observe

    def _quantiles(self, name: str) -> Any:
        def observe(options: "CallbackOptions") -> "Iterable[Observation]":
            from opentelemetry.metrics import Observation

            queues = {} if self.sample is None else self.sample.queues
            observed = []
            for queue in queues.values():
                durations: Durations = getattr(queue, name)
                for quantile in ("p50", "p90", "p99"):
                    labels = {"paintmq.queue": queue.name, "quantile": quantile}
                    observed.append(Observation(getattr(durations, quantile), labels))
            return observed

        return observe

    def _nodes(self, name: str) -> Any:
        def observe(options: "CallbackOptions") -> "Iterable[Observation]":
            from opentelemetry.metrics import Observation

            nodes = {} if self.sample is None else self.sample.nodes
            return [
                Observation(getattr(node.system, name), {"paintmq.node": node.name})
                for node in nodes.values()
                if node.system is not None
            ]

        return observe


@define(eq=False)
class Telemetry:
    """The SDK as the settings say, made when it is needed first."""

    settings: Settings = field(factory=Settings)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _spans: TaskSpans | None = field(default=None, init=False)
    _metrics: BrokerMetrics | None = field(default=None, init=False)
    _meters: Any = field(default=None, init=False)

    @property
    def is_on(self) -> bool:
        return bool(self.settings.endpoint)

    def trace(self) -> None:
        """Trace in this process, unless the program traces already by its own provider."""
        if not (self.is_on and self.settings.traces):
            return
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ValueError(MISSING) from error
        if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            return
        exporter = OTLPSpanExporter(
            endpoint=self._address("traces"), headers=dict(self.settings.headers)
        )
        provider = TracerProvider(
            resource=Resource.create({"service.name": self.settings.service_name})
        )
        processor = BatchSpanProcessor(exporter, schedule_delay_millis=1000 * FLUSH_SECONDS)
        provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)

    def observe_events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        if self._spans is None:
            from opentelemetry import trace

            self._spans = TaskSpans(trace.get_tracer("paintmq.broker"))
        self._spans.observe(batch)

    def observe_statistics(self, sample: "BrokerStatistics") -> None:
        with self._lock:
            if self._metrics is None:
                self._metrics = self._start_metrics()
            self._metrics.sample = sample

    def _start_metrics(self) -> BrokerMetrics:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource

        exporter = OTLPMetricExporter(
            endpoint=self._address("metrics"), headers=dict(self.settings.headers)
        )
        self._meters = MeterProvider(
            [PeriodicExportingMetricReader(exporter)],
            resource=Resource.create({"service.name": self.settings.service_name}),
        )
        metrics = BrokerMetrics()
        metrics.register(self._meters.get_meter("paintmq.broker"))
        return metrics

    def flush(self) -> None:
        """Send what there is now."""
        if self._meters is not None:
            self._meters.force_flush()

    def close(self) -> None:
        """Send what is left, and stop. Harmless to repeat."""
        meters, self._meters, self._metrics, self._spans = self._meters, None, None, None
        if meters is not None:
            meters.shutdown()

    def _address(self, signal: str) -> str:
        return f"{self.settings.endpoint.rstrip('/')}/v1/{signal}"


_telemetry = Telemetry()


def paintmq_configure(settings: Mapping[str, Any]) -> None:
    _telemetry.settings = read_settings(settings)
    _telemetry.trace()


def paintmq_events(batch: Sequence[Mapping[str, Any]]) -> None:
    if _wants_events():
        _telemetry.observe_events(batch)


def paintmq_statistics(sample: "BrokerStatistics") -> None:
    if _wants_statistics():
        _telemetry.observe_statistics(sample)


def _wants_events() -> bool:
    return _telemetry.is_on and _telemetry.settings.traces


def _wants_statistics() -> bool:
    return _telemetry.is_on and _telemetry.settings.metrics


paintmq_events.is_wanted = _wants_events  # type: ignore[attr-defined]  # read by the plugin manager
paintmq_statistics.is_wanted = _wants_statistics  # type: ignore[attr-defined]  # as above
