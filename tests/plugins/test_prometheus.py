"""Metrics for Prometheus: read by its own parser and checked by its own tool."""

import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve

from paintmq.broker.accounting.sketch import Sketch
from paintmq.statistics import (
    BrokerStatistics,
    GpuMetrics,
    ModelStatistics,
    NodeStatistics,
    QueueStatistics,
    SystemMetrics,
    TenantStatistics,
    WorkerStatistics,
)
from paintmq_plugins import prometheus

parser = pytest.importorskip("prometheus_client.parser", reason="the extra prometheus is not here")


GPU = GpuMetrics(
    name="H200",
    memory_used_mb=1,
    memory_total_mb=2,
    utilisation=0.5,
    temperature=61.0,
    power=300.5,
)
LOAD = SystemMetrics(
    cpu=0.25,
    load=1.5,
    memory_used_mb=10,
    memory_total_mb=100,
    memory_limit_mb=50,
    process_memory_mb=1,
    process_threads=1,
    gpus=(GPU,),
)
OLD_NODE = NodeStatistics(name="old", workers=1)


def figures() -> BrokerStatistics:
    runs = Sketch()
    for seconds in (0.2, 0.3, 40.0):
        runs.add(seconds)
    queue = QueueStatistics(
        name="gpu-high",
        port=5555,
        waiting=2,
        succeeded=3,
        dead=1,
        run=runs.summary(),
        oldest_wait=1.5,
    )
    odd = 'a "quoted" \\ tenant\nof two lines'
    return BrokerStatistics(
        queues={"gpu-high": queue},
        accepted=6,
        rejected_by={"queue_full": 4},
        models={"lama": ModelStatistics(name="lama", loads=2, load=runs.summary())},
        tenants={odd: TenantStatistics(name=odd, accepted=5)},
        nodes={"n": NodeStatistics(name="n", workers=1, system=LOAD), "old": OLD_NODE},
        by_worker={"w": WorkerStatistics(name="w", succeeded=3, run_seconds=9.5)},
    )


def samples(text: str) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_figure_is_read_back_by_the_official_parser() -> None:
    content, kind = prometheus.render(figures())
    read = samples(content.decode())

    def value(name: str, **labels: str) -> float:
        return read[name, frozenset(labels.items())]

    assert kind.startswith("text/plain")
    assert value("paintmq_tasks_accepted_total", queue="gpu-high") == 6
    assert value("paintmq_tasks_ended_total", queue="gpu-high", state="succeeded") == 3
    assert value("paintmq_tasks_dead", queue="gpu-high") == 1
    assert value("paintmq_tasks_rejected_total", reason="queue_full") == 4
    assert value("paintmq_task_run_seconds_bucket", queue="gpu-high", le="0.5") == 2
    assert value("paintmq_task_run_seconds_bucket", queue="gpu-high", le="+Inf") == 3
    assert value("paintmq_task_run_seconds_sum", queue="gpu-high") == pytest.approx(40.5)
    assert value("paintmq_task_wait_seconds_bucket", queue="gpu-high", le="0.001") == 0
    assert value("paintmq_model_loads_total", model="lama") == 2
    odd = 'a "quoted" \\ tenant\nof two lines'
    assert value("paintmq_tenant_tasks_accepted_total", tenant=odd) == 5
    assert value("paintmq_worker_run_seconds_total", worker="w") == 9.5
    assert value("paintmq_tasks_unaccounted") == 0
    assert value("paintmq_node_cpu_ratio", node="n") == 0.25
    assert value("paintmq_node_memory_bytes", node="n") == 50 << 20
    gpu = {"node": "n", "gpu": "0", "gpu_name": "H200"}
    assert value("paintmq_gpu_power_watts", **gpu) == 300.5
    assert value("paintmq_gpu_temperature_celsius", **gpu) == 61
    assert ("paintmq_node_cpu_ratio", frozenset({("node", "old")})) not in read


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_object_to() -> None:
    content, _ = prometheus.render(figures())
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=content, capture_output=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert not checked.stderr.strip()


@pytest.mark.parametrize(
    "wrong", [{"port": "80"}, {"port": 0}, {"port": True}, {"prot": 9550}, {"host": 7}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        prometheus.Exporter().configure(wrong)


def test_a_broker_without_a_gateway_serves_its_latest_sample() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    exporter = prometheus.Exporter()
    exporter.show(figures())  # not configured: nothing is served
    exporter.configure({"port": port})
    exporter.show(figures())
    exporter.show(evolve(figures(), clients=7))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            read = samples(answer.read().decode())
    finally:
        exporter.close()

    assert read["paintmq_clients", frozenset()] == 7
