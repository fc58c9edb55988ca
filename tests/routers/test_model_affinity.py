"""model-affinity: what it promises about loads, copies and waits."""

from functools import partial

import pytest

from paintmq.config import RouterConfig
from paintmq.errors import ConfigError
from paintmq.fleet_simulation.engine_policy import EnginePolicy
from paintmq.fleet_simulation.fleet import FleetSimulation, Outcome
from paintmq.fleet_simulation.generators import Pattern, generate
from paintmq.fleet_simulation.random_scenarios import random_scenario
from paintmq.fleet_simulation.rivals import LongestQueue, SoonestCompletion, SwarmLike
from paintmq.fleet_simulation.scenarios import SCENARIOS, TIGHT, catalogue, fleet
from paintmq.fleet_simulation.summary import summarise
from paintmq.fleet_simulation.traffic import (
    SimulatedModel,
    SimulatedWorker,
    Traffic,
    TrafficTask,
)
from paintmq.plugin.manager import PluginManager
from paintmq.routing import BacklogView, BoardView, WorkerView
from paintmq_routers.affinity_parameters import ModelAffinityParameters
from paintmq_routers.least_loaded import LeastLoaded
from paintmq_routers.model_affinity import ModelAffinity

TWO = (SimulatedWorker(name="one/0"), SimulatedWorker(name="two/0"))


def run(
    *tasks: TrafficTask,
    models: tuple[SimulatedModel, ...],
    workers: tuple[SimulatedWorker, ...] = TWO,
    router: ModelAffinity | None = None,
) -> Outcome:
    traffic = Traffic(name="test", models=models, workers=workers, tasks=tasks)
    policy = EnginePolicy(traffic, router or ModelAffinity())
    outcome = FleetSimulation(traffic, policy).run()
    policy.scheduler.check_invariants()
    assert policy.scheduler.faults == 0, policy.scheduler.last_fault
    return outcome


def burst(model: str, count: int, *, at: float = 0.0) -> list[TrafficTask]:
    return [TrafficTask(at=at, model=model, run=1.0) for _ in range(count)]


def test_a_trickle_stays_with_the_copy_there_is() -> None:
    model = SimulatedModel(name="m", load=10.0, run=1.0)
    outcome = run(
        *(TrafficTask(at=2.0 * n, model="m", run=1.0) for n in range(20)), models=(model,)
    )

    assert outcome.loads == 1


def test_a_burst_longer_than_a_load_gets_a_second_copy() -> None:
    model = SimulatedModel(name="m", load=5.0, run=1.0)

    first = burst("m", 1)
    assert run(*first, *burst("m", 4, at=20.0), models=(model,)).loads == 1
    assert run(*first, *burst("m", 40, at=20.0), models=(model,)).loads == 2


def test_tasks_of_two_models_do_not_make_them_evict_each_other() -> None:
    models = tuple(SimulatedModel(name=n, load=5.0, run=1.0, memory_mb=20_000) for n in "ab")
    tasks = [TrafficTask(at=0.5 * n, model="ab"[n % 2], run=1.0) for n in range(60)]

    assert run(*tasks, models=models).loads == 2


def test_a_model_that_tasks_wait_for_is_not_evicted_for_slightly_older_ones() -> None:
    """Or an overloaded worker would change models again and again and do little but load."""
    models = tuple(SimulatedModel(name=n, load=5.0, run=1.0, memory_mb=20_000) for n in "ab")
    tasks = [TrafficTask(at=0.25 * n, model="ab"[n % 2], run=1.0) for n in range(200)]
    outcome = run(*tasks, models=models, workers=(SimulatedWorker(name="w/0"),))

    assert outcome.loads <= 4


def test_a_pinned_model_is_never_evicted() -> None:
    models = tuple(SimulatedModel(name=n, load=1.0, run=1.0, memory_mb=10_000) for n in "abc")
    worker = SimulatedWorker(name="w/0", pinned=("a",))
    tasks = [TrafficTask(at=3.0 * n, model="bca"[n % 3], run=1.0) for n in range(30)]

    endings = run(*tasks, models=models, workers=(worker,)).endings

    assert all(ending.wait == 0.0 for ending in endings if ending.task.model == "a")


def test_nobody_is_overtaken_for_longer_than_the_parameter_says() -> None:
    """Invariant I12 across models: the warm model's stream cannot starve the cold one."""
    models = (
        SimulatedModel(name="hot", load=60.0, run=1.0, memory_mb=20_000),
        SimulatedModel(name="cold", load=60.0, run=1.0, memory_mb=20_000),
    )
    tasks = [TrafficTask(at=0.9 * n, model="hot", run=1.0) for n in range(600)]
    tasks.insert(1, TrafficTask(at=0.1, model="cold", run=1.0))
    parameters = ModelAffinityParameters(overtaken_at_most=100.0, patience=1e9)
    outcome = run(
        *tasks,
        models=models,
        workers=(SimulatedWorker(name="w/0"),),
        router=ModelAffinity(parameters),
    )

    cold = next(ending for ending in outcome.endings if ending.task.model == "cold")
    passed = [e.task.at for e in outcome.endings if e.started_at < cold.started_at]
    assert max(passed) <= 0.1 + 100.0 + 1.0


def test_of_idle_workers_that_have_the_model_the_quickest_takes_the_task() -> None:
    model = SimulatedModel(name="m", load=1.0, run=1.0)
    slow, quick = SimulatedWorker(name="slow/0"), SimulatedWorker(name="quick/0", speed=4.0)
    later = [TrafficTask(at=1000.0 + 20.0 * n, model="m", run=1.0) for n in range(10)]
    for workers in ((slow, quick), (quick, slow)):
        outcome = run(*burst("m", 30), *later, models=(model,), workers=workers)

        assert {ending.worker for ending in outcome.endings[:30]} == {0, 1}
        assert {ending.worker for ending in outcome.endings[30:]} == {workers.index(quick)}


def test_a_term_of_a_third_party_can_forbid_a_pair() -> None:
    def only_two(
        backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float:
        return float(worker.node == "two")

    model = SimulatedModel(name="m", load=1.0, run=1.0)
    router = ModelAffinity(ModelAffinityParameters(preload=False), terms=[only_two])
    outcome = run(*burst("m", 10), models=(model,), router=router)

    assert {ending.worker for ending in outcome.endings} == {1}


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"objective": "speed"}, "objective"),
        ({"patience": 0}, "patience"),
        ({"pateince": 2}, "pateince"),
        ({"terms": ["nowhere:f"]}, "nowhere:f"),
    ],
)
def test_wrong_parameters_are_refused_by_name(parameters: dict[str, object], word: str) -> None:
    config = RouterConfig(name="model-affinity", parameters=parameters)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=word):
        PluginManager.installed().make_router(config)


@pytest.mark.parametrize("scenario", ["steady, roomy", "skewed, tight", "many rare models"])
def test_it_beats_the_strongest_rival_by_far(scenario: str) -> None:
    traffic = SCENARIOS[scenario](600, 5)
    ours = summarise("", FleetSimulation(traffic, EnginePolicy(traffic, ModelAffinity())).run())
    theirs = summarise("", FleetSimulation(traffic, SwarmLike(traffic)).run())
    plain = summarise("", FleetSimulation(traffic, EnginePolicy(traffic, LeastLoaded())).run())

    assert ours.all.mean < 0.9 * theirs.all.mean
    assert ours.loads < 0.7 * theirs.loads
    assert ours.all.mean < plain.all.mean


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 8, 13, 22, 26, 34, 36])
def test_it_keeps_up_with_other_strategies_on_drawn_scenarios_that_once_undid_it(
    number: int,
) -> None:
    """Overloads with tenants or tight memory: it took up to 27 times as long as the best there."""
    traffic = random_scenario(number, tasks=800)
    ours = summarise("", FleetSimulation(traffic, EnginePolicy(traffic, ModelAffinity())).run())
    theirs = [
        summarise("", FleetSimulation(traffic, rival(traffic)).run())
        for rival in (SwarmLike, LongestQueue, SoonestCompletion)
    ]

    assert ours.all.mean < 1.6 * min(other.all.mean for other in theirs)


def overload(seed: int) -> Traffic:
    """More work than four workers can do, loads not counted."""
    pattern = Pattern(tasks=600, load=1.2, skew=0.6)
    return generate("overload", catalogue(), fleet(*TIGHT), pattern, seed=seed)


def moderate(seed: int) -> Traffic:
    return SCENARIOS["skewed, tight"](600, seed)


@pytest.mark.slow
def test_the_dial_goes_from_the_lowest_p99_to_the_highest_throughput() -> None:
    p99s, finished = list[float](), list[int]()
    for objective in ("p99", "balanced", "throughput"):
        router = partial(ModelAffinity, ModelAffinityParameters(objective=objective))
        p99s.append(
            sum(
                summarise(
                    "", FleetSimulation(traffic, EnginePolicy(traffic, router())).run()
                ).all.p99_latency
                for traffic in map(moderate, range(3))
            )
        )
        count = 0
        for traffic in map(overload, range(3)):
            outcome = FleetSimulation(traffic, EnginePolicy(traffic, router())).run()
            count += sum(ending.ended_at <= traffic.tasks[-1].at for ending in outcome.endings)
        finished.append(count)

    assert p99s == sorted(p99s), p99s
    assert finished == sorted(finished), finished


def test_the_same_traffic_gives_the_same_decisions() -> None:
    traffic = SCENARIOS["bursty"](300, 2)

    first, second = (
        FleetSimulation(traffic, EnginePolicy(traffic, ModelAffinity())).run() for _ in range(2)
    )
    assert first == second
