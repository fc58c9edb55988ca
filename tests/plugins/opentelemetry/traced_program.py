"""A program that uses OpenTelemetry and submits a task to an embedded manager; run as a process.

``python -m tests.plugins.opentelemetry.traced_program ENDPOINT``: where its spans, the broker's and
the model host's go. Prints the id of the trace and of the task, and ends when its input does.
"""

import sys
import threading
import time

import numpy as np
from opentelemetry import trace

from paintmq import QueueManager, Task
from paintmq.config import MonitoringConfig, PluginsConfig
from paintmq.plugin.manager import PluginManager
from paintmq.testing.embedded_manager import config_on_free_ports
from paintmq_plugins import opentelemetry as plugin


def main(endpoint: str) -> None:
    settings = {"opentelemetry": {"endpoint": endpoint, "service_name": "trial"}}
    config = PluginsConfig(allow=("trial", "model-affinity", "opentelemetry"), settings=settings)
    plugins = PluginManager.installed(config)
    picture = np.zeros((8, 8, 3), np.uint8)
    mask = np.full((8, 8), 255, np.uint8)
    monitoring = MonitoringConfig(metrics_interval=0.2)
    whole = config_on_free_ports(monitoring=monitoring, plugins=config)
    with QueueManager(whole, workers=1, plugins=plugins) as manager:
        with trace.get_tracer("program").start_as_current_span("program") as span:
            task = Task("plugin", {"model": "trial"}, {"image": picture, "mask": mask})
            manager.submit(task).result(60)
            print(f"{span.get_span_context().trace_id:032x} {task.id}", flush=True)  # noqa: T201
        until = time.monotonic() + 30
        while plugin._telemetry._metrics is None and time.monotonic() < until:
            threading.Event().wait(0.05)
        plugin._telemetry.flush()
        sys.stdin.read()  # until the collector has heard the model host, which is ended next
    plugin._telemetry.close()


if __name__ == "__main__":
    main(sys.argv[1])
