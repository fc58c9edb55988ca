"""A thread that measures the node's machine, so that drivers and system calls keep no agent."""

import logging
import threading

from paintmq.monitoring.collector import Collector
from paintmq.monitoring.system_meter import SystemMeter
from paintmq.statistics import SystemMetrics

INTERVAL = 5.0
"""Seconds between two measurements: as often as a heartbeat."""
STOP_SECONDS = 2.0

logger = logging.getLogger(__name__)


class NodeMeter:
    """Call ``start``, then ``take`` from any thread, then ``stop``."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._latest: SystemMetrics | None = None
        self._collect = Collector("the node's load", self._read, self._stopping.is_set)
        self._meter: SystemMeter | None = None

    @property
    def failures(self) -> int:
        """How often it could not be measured."""
        return self._collect.failures

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="paintmq-node-meter", daemon=True)
        self._thread.start()

    def take(self) -> SystemMetrics | None:
        """Return what was measured last, once: one worker of a node tells it."""
        latest, self._latest = self._latest, None
        return latest

    def stop(self) -> None:
        """End the thread; a driver that does not return is left behind. Harmless to repeat."""
        self._stopping.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(STOP_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                metrics = self._collect()
                if metrics is not None:
                    self._latest = metrics
                self._stopping.wait(self._interval)
        finally:
            self._close()

    def _read(self) -> SystemMetrics:
        if self._meter is None:
            self._meter = SystemMeter()
        try:
            return self._meter.read()
        except BaseException:
            self._close()  # a new one may find what this one has lost
            raise

    def _close(self) -> None:
        meter, self._meter = self._meter, None
        if meter is not None:
            try:
                meter.close()
            except Exception as error:  # noqa: BLE001 -- a driver that is gone cannot be closed
                logger.debug("the driver of the GPUs does not close: %s", error)
