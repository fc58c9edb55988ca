"""The node's meter: measures in a thread of its own, is told once, and recovers by itself."""

import logging
import threading

import pytest
from tests.harness.measured_system import make_system

from paintmq.monitoring.system_meter import SystemMeter
from paintmq.node.node_meter import NodeMeter
from paintmq.statistics import SystemMetrics

METRICS = make_system()


class Broken:
    """A machine that cannot be read for the first times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.read_well = threading.Event()

    def read(self, meter: SystemMeter) -> SystemMetrics:
        self.left -= 1
        if self.left >= 0:
            raise OSError("the driver hangs")
        self.read_well.set()
        return METRICS


def test_a_measurement_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Broken(0)
    monkeypatch.setattr(SystemMeter, "read", lambda meter: machine.read(meter))
    meter = NodeMeter(interval=3600.0)
    meter.start()
    assert machine.read_well.wait(30)
    meter.stop()

    assert meter.take() == METRICS
    assert meter.take() is None


def test_failures_are_counted_told_once_and_end_by_themselves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Broken(5)
    monkeypatch.setattr(SystemMeter, "read", lambda meter: machine.read(meter))
    meter = NodeMeter(interval=0.001)
    with caplog.at_level(logging.WARNING):
        meter.start()
        assert machine.read_well.wait(30)
        meter.stop()

    assert meter.failures == 5
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "the driver hangs" in told[0]
    assert "after 5 failures" in told[1]
