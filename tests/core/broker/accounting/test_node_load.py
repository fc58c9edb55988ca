"""The load of nodes: what points of it hold, and whose."""

import json

from tests.harness.measured_system import make_system

from paintmq.broker.accounting.node_load import (
    MOST_GPUS,
    MOST_NODES,
    Load,
    fresh_loads,
    load_of,
    read_load,
)
from paintmq.statistics import NodeStatistics, SystemMetrics


def measured(cpu: float = 0.5, gpus: int = 0, **more: int) -> SystemMetrics:
    used = {"memory_used_mb": 100, "memory_total_mb": 200, **more}
    return make_system(cpu=cpu, gpus=gpus, utilisation=cpu, **used)


def test_stretches_add_up_whichever_gpus_were_there() -> None:
    whole = load_of(measured(0.2))
    whole.add(read_load(json.loads(json.dumps(load_of(measured(0.4, gpus=1)).to_json()))))
    shown = whole.shown(60.0)

    assert (shown["at"], shown["measured"]) == (60.0, 2)
    assert (shown["cpu"], shown["cpu_most"]) == (0.3, 0.4)
    assert shown["gpu0_utilisation_most"] == 0.4


def test_a_control_group_says_what_may_be_filled() -> None:
    limited = load_of(measured(memory_limit_mb=50, memory_in_group_mb=20)).shown(0.0)

    assert (limited["memory_used_mb"], limited["memory_limit_mb"]) == (20.0, 50.0)


def test_only_what_was_measured_since_is_new() -> None:
    nodes = {
        "fresh": NodeStatistics(name="fresh", age=0.5, system=measured()),
        "old": NodeStatistics(name="old", age=1.0, system=measured()),
        "silent": NodeStatistics(name="silent"),
    }
    assert fresh_loads(nodes, 1.0).keys() == {("node", "fresh")}


def test_nodes_and_gpus_have_a_bound() -> None:
    system = measured(gpus=MOST_GPUS + 1)
    nodes = {
        f"{number:04}": NodeStatistics(name=f"{number:04}", system=system)
        for number in range(MOST_NODES + 1)
    }
    loads = fresh_loads(nodes, 1.0)

    assert len(loads) == MOST_NODES
    assert f"gpu{MOST_GPUS - 1}_power" in loads["node", "0000"].sums
    assert f"gpu{MOST_GPUS}_power" not in loads["node", "0000"].sums


def test_nothing_at_all_can_be_shown() -> None:
    assert Load().shown(1.0) == {"at": 1.0, "measured": 0}
