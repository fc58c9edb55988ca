"""OpenTelemetry: spans by the official SDK's own exporters, and by OTLP as a collector reads it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.harness.trial_models import write_trial_distribution

from paintmq.statistics import (
    BrokerStatistics,
    Durations,
    NodeStatistics,
    QueueStatistics,
    SystemMetrics,
)
from paintmq_plugins import opentelemetry as plugin

pytest.importorskip("opentelemetry.sdk", reason="the extra opentelemetry is not here")

TRACE, SPAN = "1" * 32, "2" * 16
PARENT = f"00-{TRACE}-{SPAN}-01"
TASK = "a" * 32


class Collector:
    """What a collector received, decoded from protobuf."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {}
        self.arrived = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                with collector.arrived:
                    collector.bodies.setdefault(self.path, []).append(body)
                    collector.arrived.notify_all()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def wait_for_span(self, name: str) -> None:
        with self.arrived:
            heard = self.arrived.wait_for(lambda: any(s.name == name for s in self.spans), 60)
        assert heard, f"no span {name!r}; there are {[span.name for span in self.spans]}"

    @property
    def spans(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        return [
            span
            for body in self.bodies.get("/v1/traces", [])
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
            ExportMetricsServiceRequest,
        )

        return {
            metric.name: metric
            for body in self.bodies.get("/v1/metrics", [])
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_one_trace_holds_client_broker_and_model_of_a_task(
    collector: Collector, tmp_path: Path
) -> None:
    site = write_trial_distribution(tmp_path / "site")
    paths = [str(site), str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }

    with subprocess.Popen(
        [sys.executable, "-m", "tests.plugins.opentelemetry.traced_program", collector.url],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            collector.wait_for_span("run trial")
            said, errors = program.communicate(timeout=25)
        finally:
            program.kill()

    assert program.returncode == 0, errors
    trace_id, task_id = said.split()
    spans = {span.name: span for span in collector.spans if span.trace_id.hex() == trace_id}
    assert set(spans) == {"program", "task trial", "wait", "attempt", "run trial"}, errors
    root = spans["task trial"]
    assert root.parent_span_id == spans["program"].span_id
    for name in ("wait", "attempt", "run trial"):
        span = spans[name]
        assert span.parent_span_id == root.span_id
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        ids = [each.value.string_value for each in span.attributes if each.key.endswith("task_id")]
        assert ids == [task_id]
    assert spans["wait"].end_time_unix_nano <= spans["attempt"].end_time_unix_nano
    accepted = collector.metrics["paintmq.tasks.accepted"].sum
    assert accepted.is_monotonic
    assert sum(point.as_int for point in accepted.data_points) == 1


def events(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    common = {"task_id": TASK, "model": "toy", "queue": "cpu-light", "worker": "", "attempt": 0}
    return [{**common, **change} for change in changes]


def spans_of(batch: list[dict[str, Any]]) -> list[Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    plugin.TaskSpans(provider.get_tracer("test")).observe(batch)
    provider.shutdown()
    return list(exporter.get_finished_spans())


def test_each_attempt_of_a_task_is_a_span_of_its_trace() -> None:
    spans = spans_of(
        events(
            {"event": "accept", "at": 1.0, "trace": PARENT},
            {"event": "lease", "at": 2.0, "worker": "w", "attempt": 1, "state": "leased"},
            {"event": "requeue", "at": 3.0, "worker": "w", "attempt": 1, "state": "queued"},
            {"event": "lease", "at": 5.0, "worker": "w", "attempt": 2, "state": "leased"},
            {"event": "finish", "at": 8.0, "attempt": 2, "state": "succeeded"},
        )
    )

    told = [(span.name, span.start_time / 1e9, span.end_time / 1e9) for span in spans]
    assert told == [
        ("wait", 1.0, 2.0),
        ("attempt", 2.0, 3.0),
        ("wait", 3.0, 5.0),
        ("attempt", 5.0, 8.0),
    ]
    assert [span.status.is_ok for span in spans] == [True, False, True, True]
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}
    assert {f"{span.parent.span_id:016x}" for span in spans} == {SPAN}
    assert spans[1].attributes["paintmq.worker"] == "w"


def test_a_task_that_never_ran_has_a_span_of_its_wait() -> None:
    (span,) = spans_of(
        events(
            {"event": "accept", "at": 1.0, "trace": PARENT},
            {"event": "finish", "at": 4.0, "state": "cancelled", "error": ""},
        )
    )

    assert (span.name, span.status.is_ok, span.status.description) == ("wait", False, "cancelled")


def test_tasks_without_a_trace_and_events_of_others_make_no_spans() -> None:
    batch = events({"event": "accept", "at": 1.0, "trace": ""}, {"event": "lease", "at": 2.0})
    batch += [{"event": "boot", "at": 1.0}, {"event": "joined", "worker": "w", "kind": "worker"}]

    assert spans_of(batch) == []


def test_the_tasks_that_are_followed_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "MOST_TASKS", 2)
    batch = [
        each | {"task_id": f"{number:032x}"}
        for number in range(5)
        for each in events({"event": "accept", "at": 1.0, "trace": PARENT})
    ]
    from opentelemetry.trace import NoOpTracer

    spans = plugin.TaskSpans(NoOpTracer())
    spans.observe(batch)

    assert len(spans._tasks) == 2


def test_metrics_are_those_of_the_latest_sample() -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    metrics = plugin.BrokerMetrics()
    metrics.register(provider.get_meter("test"))
    system = SystemMetrics(
        cpu=0.5,
        load=1.0,
        memory_used_mb=7,
        memory_total_mb=9,
        process_memory_mb=1,
        process_threads=1,
    )
    metrics.sample = BrokerStatistics(
        queues={
            "q": QueueStatistics(
                name="q", port=1, succeeded=3, waiting=2, run=Durations(count=1, p50=0.25)
            )
        },
        nodes={"n": NodeStatistics(name="n", system=system), "old": NodeStatistics(name="old")},
    )
    data: Any = reader.get_metrics_data()
    provider.shutdown()

    read = {
        (metric.name, *sorted(point.attributes.items())): point.value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    queue = ("paintmq.queue", "q")
    assert read["paintmq.tasks.succeeded", queue] == 3
    assert read["paintmq.tasks.waiting", queue] == 2
    assert read["paintmq.task.run", queue, ("quantile", "p50")] == 0.25
    assert read["paintmq.node.cpu", ("paintmq.node", "n")] == 0.5
    assert ("paintmq.node.cpu", ("paintmq.node", "old")) not in read


@pytest.mark.parametrize(
    "wrong",
    [{"endpoint": 3}, {"endpont": "http://x"}, {"endpoint": "collector:4318"}, {"traces": False}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="endpo"):
        plugin.read_settings(wrong)


def test_without_settings_it_wants_nothing() -> None:
    assert not plugin.paintmq_events.is_wanted()  # type: ignore[attr-defined]  # set beside it
    plugin.paintmq_events([{"event": "accept", "trace": PARENT, "task_id": TASK, "at": 1.0}])
    plugin.paintmq_statistics(BrokerStatistics())
    assert plugin._telemetry._spans is None
    assert plugin._telemetry._metrics is None
