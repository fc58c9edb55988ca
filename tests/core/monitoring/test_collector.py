"""Each collector of the monitoring is broken in turn: the others go on, and it recovers."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field

from paintmq.config import MonitoringConfig
from paintmq.monitoring import sampler as sampler_module
from paintmq.monitoring.collector import Collector
from paintmq.monitoring.sampler import StatisticsSampler
from paintmq.plugin.manager import PluginManager
from paintmq.statistics import BrokerStatistics, SystemMetrics

METRICS = SystemMetrics(
    cpu=0.5,
    load=1.0,
    memory_used_mb=1,
    memory_total_mb=2,
    process_memory_mb=1,
    process_threads=3,
)


@define
class Breakable:
    """Works, but for the calls with these numbers, counted from 1."""

    broken: range
    value: Any
    calls: int = field(default=0, init=False)

    def __call__(self) -> Any:
        self.calls += 1
        if self.calls in self.broken:
            raise OSError(f"broken at {self.calls}")
        return self.value


def test_failures_are_counted_told_once_and_over_when_they_are_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    collect = Collector("the weather", Breakable(range(2, 5), "fine"))
    seen = [collect() for _ in range(6)]

    assert seen == ["fine", None, None, None, "fine", "fine"]
    assert collect.failures == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the weather cannot be collected (OSError: broken at 2); it is tried again each time",
        "the weather: collected again, after 3 failures",
    ]


class Meter:
    """Stands for the meter of the machine; made anew after each failure."""

    read: Callable[[], SystemMetrics]

    def close(self) -> None:
        pass


class Observer:
    def __init__(self) -> None:
        self.samples: list[BrokerStatistics] = []
        self.shown = threading.Semaphore(0)

    def paintmq_statistics(self, sample: BrokerStatistics) -> None:
        self.samples.append(sample)
        self.shown.release()


@pytest.mark.parametrize("broken", ["queues", "system", "meter"])
def test_a_broken_collector_does_not_end_the_monitoring(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts = {name: Breakable(range(0), None) for name in ("queues", "system", "meter")}
    parts["queues"].value = BrokerStatistics(accepted=5)
    parts["system"].value = METRICS
    parts[broken].broken = range(1, 4)

    def meter() -> Meter:
        parts["meter"]()
        made = Meter()
        made.read = parts["system"]
        return made

    monkeypatch.setattr(sampler_module, "SystemMeter", meter)
    observer, plugins = Observer(), PluginManager()
    plugins.register(observer, "observer")
    sampler = StatisticsSampler(MonitoringConfig(metrics_interval=0.001), plugins, parts["queues"])
    with caplog.at_level(logging.WARNING):
        sampler.start()
        for _ in range(8):
            assert observer.shown.acquire(timeout=30)
        sampler.stop()

    assert sum(sampler.failures.values()) == 3
    assert len(caplog.records) == 2  # broken, and well again
    assert observer.samples[-1].system == METRICS
    assert {sample.accepted for sample in observer.samples} == {5}
    without_system = [sample for sample in observer.samples if sample.system is None]
    assert len(without_system) == (0 if broken == "queues" else 3)
