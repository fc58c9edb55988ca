"""A thread that samples the statistics at an interval, keeps a history and tells plugins."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from attrs import evolve

from paintmq.config import MonitoringConfig
from paintmq.monitoring.collector import Collector
from paintmq.monitoring.history import History, Sample
from paintmq.monitoring.system_meter import SystemMeter
from paintmq.statistics import BrokerStatistics, SystemMetrics

if TYPE_CHECKING:
    from paintmq.plugin.manager import PluginManager

STOP_SECONDS = 5.0
"""Seconds ``stop`` waits for an observer that has not returned."""

logger = logging.getLogger(__name__)


class StatisticsSampler:
    """Samples what the configuration asks for, outside the broker's loop.

    ``ask`` returns the broker's statistics, and may wait for them. Observers are called in this
    thread, so a slow one delays the next sample and nothing else.
    """

    def __init__(
        self,
        config: MonitoringConfig,
        plugins: "PluginManager",
        ask: Callable[[], BrokerStatistics],
    ) -> None:
        self.history = History()
        self._config = config
        self._plugins = plugins
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._meter: SystemMeter | None = None
        self._queues = Collector("the queues", ask, self._stopping.is_set)
        self._system = Collector("the machine's load", self._read_system)

    @property
    def failures(self) -> Mapping[str, int]:
        """How often each collector has failed."""
        return {each.name: each.failures for each in (self._queues, self._system)}

    def start(self) -> None:
        if not self._config.enabled:
            return
        self._thread = threading.Thread(target=self._run, name="paintmq-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; wait ``STOP_SECONDS`` at most for an observer that has not returned.

        Harmless to repeat.
        """
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is None or thread is threading.current_thread():
            return  # an observer stops us: it cannot wait for itself
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            logger.warning("an observer of statistics does not return and is left behind")

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._config.metrics_interval):
                self._take()
        finally:
            self._close_meter()

    def _take(self) -> None:
        statistics: BrokerStatistics | None = BrokerStatistics()
        if self._config.collect_queue_metrics:
            statistics = self._queues()
        if statistics is None or self._stopping.is_set():
            return
        if self._config.collect_system_metrics:
            statistics = evolve(statistics, system=self._system())
        self.history.add(Sample(time.monotonic(), statistics))
        self._plugins.deliver_statistics(statistics)

    def _read_system(self) -> SystemMetrics:
        if self._meter is None:
            self._meter = SystemMeter()
        try:
            return self._meter.read()
        except BaseException:
            self._close_meter()  # a new one may find what this one has lost
            raise

    def _close_meter(self) -> None:
        meter, self._meter = self._meter, None
        if meter is not None:
            with suppress(Exception):  # a driver that is gone cannot be closed either
                meter.close()
