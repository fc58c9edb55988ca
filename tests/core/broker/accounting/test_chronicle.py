"""Points of the history: what they add up to is what was counted."""

import json
from typing import Any

from tests.harness.broker_harness import ALICE, W1, BrokerHarness, make_machine

from paintmq.broker.accounting.chronicle import TOTAL, Chronicle, Point, read_point
from paintmq.broker.accounting.ledger import Ledger
from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import Cancel, ModelLoaded


class Lived:
    """A broker whose history is taken down now and then."""

    def __init__(self) -> None:
        self.ledger, self.chronicle = Ledger(), Chronicle()
        self.broker = BrokerHarness(make_machine(observe=self.ledger.waiting.append))
        self.broker.greet()

    def take(self) -> dict[Any, Point]:
        self.ledger.settle()
        counts = self.broker.machine.statistics(now=self.broker.now)
        return self.chronicle.take(self.ledger, counts, now=self.broker.now)


def test_points_say_what_happened_since_the_last_ones() -> None:
    lived = Lived()
    first = lived.take()
    lived.broker.join()
    for name in "ab":
        lived.broker.submit(make_request(name))
    lived.broker.receive(W1, ModelLoaded(model="toy", seconds=1.0, memory_mb=64))
    lived.broker.let_pass(1.0)
    busy = lived.take()
    lived.broker.succeed(lived.broker.assigned()[0])
    lived.broker.receive(ALICE, Cancel(lived.broker.assigned()[1].task.id))
    lived.broker.let_pass(2.0)
    done = lived.take()
    lived.broker.let_pass(1.0)
    idle = lived.take()

    assert first == {}
    assert busy.keys() == {TOTAL, ("queue", "cpu-light"), ("model", "toy")}
    assert (busy[TOTAL].accepted, busy[TOTAL].loads, busy[TOTAL].workers) == (2, 1, 1.0)
    assert busy["queue", "cpu-light"].running + busy["queue", "cpu-light"].waiting == 2.0
    assert busy["model", "toy"].waiting == 2.0
    assert (done[TOTAL].succeeded, done[TOTAL].failed, done[TOTAL].accepted) == (1, 1, 0)
    assert done["queue", "cpu-light"].run.count == 1
    assert done[TOTAL].seconds == 2.0
    assert idle.keys() == {TOTAL}
    assert idle[TOTAL].is_empty


def test_no_time_makes_no_point() -> None:
    lived = Lived()
    lived.take()

    assert lived.take() == {}


def test_seconds_add_up_to_a_minute_over_json() -> None:
    lived = Lived()
    lived.take()
    lived.broker.join()
    points = []
    for number in range(3):
        lived.broker.submit(make_request(f"{number:x}"))
        lived.broker.succeed(lived.broker.assigned()[-1])
        lived.broker.let_pass(1.0)
        points.append(read_point(json.loads(json.dumps(lived.take()[TOTAL].to_json()))))
    minute = Point()
    for point in points:
        minute.add(point)
    together = minute.shown(60.0)

    assert (together["succeeded"], together["seconds"], together["at"]) == (3, 3.0, 60.0)
    assert together["throughput"] == 1.0
    assert together["workers"] == 1.0
    assert 0 <= together["run_p50"] <= together["run_p99"]


def test_nothing_at_all_can_be_shown() -> None:
    assert Point().shown(1.0)["throughput"] == 0.0
