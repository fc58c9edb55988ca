"""A thread that samples the statistics at an interval, keeps a history and tells plugins."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve

from paintmq.config import MonitoringConfig
from paintmq.errors import PaintMQError
from paintmq.monitoring.history import History, Sample
from paintmq.monitoring.system_meter import SystemMeter
from paintmq.statistics import BrokerStatistics

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
        self._ask = ask
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

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
        meter = SystemMeter() if self._config.collect_system_metrics else None
        try:
            while not self._stopping.wait(self._config.metrics_interval):
                self._take(meter)
        finally:
            if meter is not None:
                meter.close()

    def _take(self, meter: SystemMeter | None) -> None:
        try:
            statistics = self._ask() if self._config.collect_queue_metrics else BrokerStatistics()
        except (PaintMQError, TimeoutError, RuntimeError) as error:
            if not self._stopping.is_set():
                logger.warning("no sample of the queues: %s", error)
            return
        if meter is not None:
            statistics = evolve(statistics, system=meter.read())
        self.history.add(Sample(time.monotonic(), statistics))
        self._plugins.deliver_statistics(statistics)
