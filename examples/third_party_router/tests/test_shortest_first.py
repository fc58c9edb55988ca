"""The router keeps to PaintMQ's rules, and does what its name says."""

from typing import ClassVar

import pytest
from paintmq_shortest_first import Parameters, ShortestFirst

from paintmq.fleet_simulation.engine_policy import EnginePolicy
from paintmq.fleet_simulation.fleet import FleetSimulation
from paintmq.fleet_simulation.traffic import (
    SimulatedModel,
    SimulatedWorker,
    Traffic,
    TrafficTask,
)
from paintmq.testing import RouterContract


class TestShortestFirst(RouterContract):
    """The conformance tests, inherited."""

    plugin = "paintmq_shortest_first"
    router = "shortest-first"
    parameters: ClassVar = {"patience": 0.2}


@pytest.mark.parametrize(
    ("patience", "order"), [(0.01, ["quick", "long"]), (1.0, ["long", "quick"])]
)
def test_the_quick_task_goes_first_unless_the_long_one_has_waited(
    patience: float, order: list[str]
) -> None:
    models = [
        SimulatedModel(name="busy", load=0.0, run=60.0),
        SimulatedModel(name="quick", load=0.0, run=1.0),
        SimulatedModel(name="long", load=0.0, run=20.0),
    ]
    tasks = [
        TrafficTask(at=0.0, model="busy", run=60.0),  # keeps the worker busy while others come
        TrafficTask(at=1.0, model="long", run=20.0),
        TrafficTask(at=50.0, model="quick", run=1.0),
    ]
    traffic = Traffic(
        name="two", models=models, workers=[SimulatedWorker(name="node/cuda-0")], tasks=tasks
    )

    policy = EnginePolicy(traffic, ShortestFirst(Parameters(patience=patience)))
    endings = FleetSimulation(traffic, policy).run().endings

    later = sorted(endings[1:], key=lambda ending: ending.started_at)
    assert [ending.task.model for ending in later] == order
