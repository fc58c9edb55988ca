"""Turns are counted by how long they took."""

from typing import Any

import pytest
from attrs import define

from paintmq.broker.shell.loop_latency import BOUNDS, LoopLatency
from paintmq.statistics import BOUNDS as LIMITS
from paintmq.statistics import Durations


@define
class Clocks:
    wall: float = 100.0
    processor: float = 0.0

    def turn(self, turns: LoopLatency, seconds: float, busy: float) -> None:
        turns.begins()
        self.wall += seconds
        self.processor += busy
        turns.ends()


def test_turns_are_told_of_as_durations() -> None:
    clocks = Clocks()
    turns = LoopLatency(lambda: clocks.wall, lambda: clocks.processor)
    nothing = turns.durations()
    for seconds in (0.02, 0.02, 0.02, 60.0):
        clocks.turn(turns, seconds, 0.0)
    durations = turns.durations()

    assert nothing == Durations()
    assert durations.count == 4
    assert durations.longest == pytest.approx(60.0)
    assert 0.02 <= durations.p50 <= 0.02 * 1.15
    assert durations.p99 == pytest.approx(60.0)
    assert dict(zip(LIMITS, durations.up_to, strict=True))[0.05] == 3
    assert durations.mean == pytest.approx(15.015)


def test_a_turn_counts_with_those_up_to_the_bound_above_it() -> None:
    clocks = Clocks()
    turns = LoopLatency(lambda: clocks.wall, lambda: clocks.processor)
    turns.ends()  # of a turn that never began
    clocks.wall += 1000.0
    for seconds in (0.0, 0.02, 0.02, 60.0):
        clocks.turn(turns, seconds, 0.0)

    described: Any = turns.describe()

    counted = dict(zip([*described["bounds"], float("inf")], described["counts"], strict=True))
    assert counted.pop(BOUNDS[0]) == 1
    assert counted.pop(float("inf")) == 1
    (bound,) = (bound for bound, count in counted.items() if count)
    assert counted[bound] == 2
    assert 0.02 <= bound <= 0.02 * 1.15
    assert described["busy"] == [4] + len(BOUNDS) * [0]
    assert described["longest"] == 60.0
