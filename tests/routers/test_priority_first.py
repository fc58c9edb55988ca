"""priority-first: higher levels first, and the lowest one's turn comes all the same."""

import random

import pytest

from paintmq.fleet_simulation.engine_policy import EnginePolicy
from paintmq.fleet_simulation.fleet import FleetSimulation
from paintmq.fleet_simulation.traffic import (
    SimulatedModel,
    SimulatedWorker,
    Traffic,
    TrafficTask,
)
from paintmq_routers.priority_first import PriorityFirst, PriorityFirstParameters

MODELS = (
    SimulatedModel(name="a", load=2.0, run=1.0, memory_mb=20_000),
    SimulatedModel(name="b", load=3.0, run=2.0, memory_mb=20_000),
)
AGEING = 60.0


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_passed_by_a_task_that_came_later_than_the_levels_between_them_are_worth(
    seed: int,
) -> None:
    """So the lowest level waits at most for what came within nine levels' worth after it."""
    rng = random.Random(seed)
    arrivals = [
        TrafficTask(
            at=rng.uniform(0, 200),
            model=rng.choice("ab"),
            run=10.0,
            priority=rng.choice((0, 0, 0, 1, 9)),
        )
        for _ in range(60)
    ]
    level_seconds, warm_seconds = rng.choice((10.0, 60.0, 600.0)), rng.choice((0.0, 20.0))
    workers = rng.randint(1, 2)
    traffic = Traffic(
        name="levels",
        models=MODELS,
        workers=[SimulatedWorker(name=f"w/{place}") for place in range(workers)],
        tasks=sorted(arrivals, key=lambda task: task.at),
        ageing=AGEING,
    )
    parameters = PriorityFirstParameters(level_seconds=level_seconds, warm_seconds=warm_seconds)
    policy = EnginePolicy(traffic, PriorityFirst(parameters))
    endings = FleetSimulation(traffic, policy).run().endings

    loads = max(model.load for model in MODELS)
    for passed in endings:
        for other in endings:
            levels = max(0, other.task.priority - passed.task.priority)
            worth = levels * (AGEING + level_seconds) + warm_seconds
            if other.task.at > passed.task.at + worth:
                assert other.started_at > passed.started_at - loads - 1e-6, "it only loaded less"
    assert policy.scheduler.faults == 0


def test_levels_are_strict_while_a_service_keeps_up() -> None:
    model = SimulatedModel(name="a", load=0.0, run=1.0)
    low = [TrafficTask(at=0.0, model="a", run=1.0) for _ in range(20)]
    high = [TrafficTask(at=5.0, model="a", run=1.0, priority=1) for _ in range(5)]
    traffic = Traffic(
        name="strict", models=[model], workers=[SimulatedWorker(name="w/0")], tasks=[*low, *high]
    )
    endings = FleetSimulation(traffic, EnginePolicy(traffic, PriorityFirst())).run().endings

    assert [ending.started_at for ending in endings if ending.task.priority] == [5, 6, 7, 8, 9]
