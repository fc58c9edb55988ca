"""How busy the machines with workers were: points of a history. Pure.

A point holds sums over measurements and the highest of each figure, so that a minute is the sum of
its seconds, as for tasks (``chronicle.py``).
"""

from collections.abc import Mapping
from typing import Any

from attrs import define, field
from cattrs import structure, unstructure

from paintmq.statistics import NodeStatistics, SystemMetrics

NODE = "node"
"""The kind of these points' series; its name is the node's."""
MOST_NODES = 100
"""Machines whose history is kept: the first by name."""
MOST_GPUS = 16
"""GPUs of one machine that are kept."""


@define
class Load:
    """One node in a stretch of time: its figures by name, such as ``cpu`` and ``gpu0_power``."""

    measured: int = 0
    """How many measurements there were."""
    sums: dict[str, float] = field(factory=dict[str, float])
    most: dict[str, float] = field(factory=dict[str, float])

    def add(self, other: "Load") -> None:
        """Add another stretch of the same node."""
        self.measured += other.measured
        for name, value in other.sums.items():
            self.sums[name] = round(self.sums.get(name, 0.0) + value, 4)
        for name, value in other.most.items():
            self.most[name] = max(self.most.get(name, 0.0), value)

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = unstructure(self)
        return plain

    def shown(self, at: float) -> dict[str, Any]:
        """Return it for a reader: of each figure the mean, and the highest as ``NAME_most``."""
        count = self.measured or 1
        figures: dict[str, Any] = {"at": at, "measured": self.measured}
        for name, value in self.sums.items():
            figures[name] = round(value / count, 4)
            figures[f"{name}_most"] = self.most.get(name, 0.0)
        return figures


def read_load(plain: Any) -> Load:
    return structure(plain, Load)


def load_of(system: SystemMetrics) -> Load:
    """Return one measurement as a point.

    ``cpu`` and ``gpuN_utilisation`` are fractions from 0 to 1, ``memory_limit_mb`` is what may be
    filled, by hardware and control groups, ``gpuN_temperature`` is in degrees Celsius, and
    ``gpuN_power`` in watts.
    """
    figures = {
        "cpu": system.cpu,
        "load": system.load,
        "memory_used_mb": float(system.memory_in_group_mb or system.memory_used_mb),
        "memory_limit_mb": float(system.memory_limit_mb or system.memory_total_mb),
    }
    for place, gpu in enumerate(system.gpus[:MOST_GPUS]):
        figures |= {
            f"gpu{place}_utilisation": gpu.utilisation,
            f"gpu{place}_memory_used_mb": float(gpu.memory_used_mb),
            f"gpu{place}_memory_total_mb": float(gpu.memory_total_mb),
            f"gpu{place}_temperature": gpu.temperature,
            f"gpu{place}_power": gpu.power,
        }
    figures = {name: round(value, 4) for name, value in figures.items()}
    return Load(1, figures, dict(figures))


def fresh_loads(nodes: Mapping[str, NodeStatistics], seconds: float) -> dict[tuple[str, str], Load]:
    """Return a point of each node that was measured within the last ``seconds``."""
    return {
        (NODE, name): load_of(node.system)
        for name, node in sorted(nodes.items())[:MOST_NODES]
        if node.system is not None and node.age < seconds
    }
