"""priority-first: higher levels first, and the lowest one's turn comes all the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

tasks = st.builds(
    TrafficTask,
    at=st.floats(0, 400, width=32),
    model=st.sampled_from("ab"),
    run=st.just(1.0),
    priority=st.integers(0, 9),
)


@pytest.mark.slow
@given(
    arrivals=st.lists(tasks, min_size=2, max_size=60),
    level_seconds=st.sampled_from([10.0, 60.0, 600.0]),
    warm_seconds=st.sampled_from([0.0, 20.0]),
    workers=st.integers(1, 3),
)
def test_nobody_is_passed_by_a_task_that_came_later_than_the_levels_between_them_are_worth(
    arrivals: list[TrafficTask], level_seconds: float, warm_seconds: float, workers: int
) -> None:
    """So the lowest level waits at most for what came within nine levels' worth after it."""
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
                assert other.started_at >= passed.started_at - loads, "it only loaded less long"
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
