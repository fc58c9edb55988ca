"""The sampler's thread: what it collects, whom it tells, and that it ends."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paintmq.config import MonitoringConfig
from paintmq.errors import RejectedError
from paintmq.monitoring import sampler as sampler_module
from paintmq.monitoring.sampler import StatisticsSampler
from paintmq.plugin.manager import PluginManager
from paintmq.statistics import BrokerStatistics
from paintmq.testing.embedded_manager import embedded_manager


class Observer:
    """A plugin that keeps the samples it is shown."""

    def __init__(self) -> None:
        self.samples: list[BrokerStatistics] = []
        self.shown = threading.Semaphore(0)

    def paintmq_statistics(self, sample: BrokerStatistics) -> None:
        self.samples.append(sample)
        self.shown.release()


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.fixture
def make(observer: Observer) -> Iterator[Callable[..., StatisticsSampler]]:
    plugins = PluginManager()
    plugins.register(observer, "observer")
    samplers: list[StatisticsSampler] = []

    def make(ask: Callable[[], BrokerStatistics], **settings: Any) -> StatisticsSampler:
        config = MonitoringConfig(**({"metrics_interval": 0.01} | settings))
        samplers.append(StatisticsSampler(config, plugins, ask))
        samplers[-1].start()
        return samplers[-1]

    yield make
    for sampler in samplers:
        sampler.stop()


def five() -> BrokerStatistics:
    return BrokerStatistics(accepted=5)


def test_a_sample_has_the_queues_and_the_machine(
    make: Callable[..., StatisticsSampler], observer: Observer
) -> None:
    sampler = make(five)
    assert observer.shown.acquire(timeout=30)
    sampler.stop()

    sample = observer.samples[0]
    assert sample.accepted == 5
    assert sample.system is not None
    assert 0 <= sample.system.cpu <= 1
    assert 0 < sample.system.process_memory_mb < sample.system.memory_total_mb
    assert [each.statistics for each in sampler.history] == observer.samples


def test_what_is_not_wanted_is_not_collected(
    make: Callable[..., StatisticsSampler], observer: Observer
) -> None:
    def never() -> BrokerStatistics:
        raise AssertionError("nobody wanted the queues")

    make(never, collect_queue_metrics=False, collect_system_metrics=False)

    assert observer.shown.acquire(timeout=30)
    assert observer.samples[0] == BrokerStatistics()


def test_a_broker_that_does_not_answer_costs_a_sample_and_not_the_sampler(
    make: Callable[..., StatisticsSampler], observer: Observer, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([RejectedError("ask", "draining"), None])

    def ask() -> BrokerStatistics:
        error = next(answers, None)
        if error is not None:
            raise error
        return five()

    with caplog.at_level(logging.WARNING):
        make(ask)
        assert observer.shown.acquire(timeout=30)

    assert "the queues cannot be collected (RejectedError: draining)" in caplog.text


def test_a_disabled_sampler_starts_no_thread(make: Callable[..., StatisticsSampler]) -> None:
    before = threading.active_count()
    make(five, enabled=False)

    assert threading.active_count() == before


def test_a_manager_shows_its_statistics_to_its_plugins(observer: Observer) -> None:
    plugins = PluginManager.installed()
    plugins.register(observer, "observer")
    monitoring = MonitoringConfig(metrics_interval=0.01)
    with embedded_manager(workers=0, plugins=plugins, monitoring=monitoring) as manager:
        assert observer.shown.acquire(timeout=30)
        assert list(observer.samples[0].queues) == list(manager.queues)


def test_an_observer_that_never_returns_does_not_hold_up_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler_module, "STOP_SECONDS", 0.01)
    called, go = threading.Event(), threading.Event()

    class Hangs:
        def paintmq_statistics(self) -> None:
            called.set()
            go.wait(60)

    plugins = PluginManager()
    plugins.register(Hangs(), "hangs")
    sampler = StatisticsSampler(MonitoringConfig(metrics_interval=0.01), plugins, five)
    sampler.start()
    assert called.wait(30)

    sampler.stop()
    go.set()

    assert "does not return and is left behind" in caplog.text


def test_an_observer_may_stop_the_sampling_it_is_called_by() -> None:
    stopped = threading.Event()

    class Stops:
        def paintmq_statistics(self) -> None:
            sampler.stop()
            stopped.set()

    plugins = PluginManager()
    plugins.register(Stops(), "stops")
    sampler = StatisticsSampler(MonitoringConfig(metrics_interval=0.01), plugins, five)
    sampler.start()

    assert stopped.wait(30)
