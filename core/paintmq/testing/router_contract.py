"""What every router must satisfy, as tests: inherit RouterContract and name your plugin.

::

    from paintmq.testing import RouterContract

    class TestPatient(RouterContract):
        plugin = "paintmq_patient"
        router = "patient"

The router decides for the real scheduling engine, over a simulated fleet in simulated time.
"""

import json
from collections.abc import Mapping
from typing import ClassVar

import attrs
import pytest

from paintmq.config import RouterConfig
from paintmq.errors import ConfigError
from paintmq.fleet_simulation.engine_policy import EnginePolicy
from paintmq.fleet_simulation.fleet import FleetSimulation, Grant, Outcome
from paintmq.fleet_simulation.generators import Pattern, generate
from paintmq.fleet_simulation.traffic import (
    SimulatedModel,
    SimulatedWorker,
    Traffic,
    TrafficTask,
)
from paintmq.plugin.options import describe_options
from paintmq.routing import BacklogView, BoardView, QueueView, Router, WorkerView
from paintmq.task import Json, TaskId
from paintmq.testing.plugin_contract import PluginContract

MODELS = tuple(
    SimulatedModel(name=f"model-{n}", load=2.0 + n, run=0.5 + n / 4, memory_mb=4096)
    for n in range(6)
)
FEW_WORKERS = tuple(SimulatedWorker(name=f"node/cuda-{n}", memory_mb=10_000) for n in range(3))
ROOMY_WORKERS = tuple(SimulatedWorker(name=f"node/cuda-{n}", memory_mb=80_000) for n in range(3))
PATTERNS: Mapping[str, Pattern] = {
    "steady": Pattern(tasks=300, load=0.4),
    "skewed and overloaded": Pattern(tasks=300, load=1.3, skew=2.0),
    "bursts": Pattern(tasks=300, load=0.5, burst_every=20.0, burst_size=15),
}


class RouterContract(PluginContract):
    """Tests for one router of one plugin."""

    router: ClassVar[str]
    parameters: ClassVar[Mapping[str, Json]] = {}
    longest_wait: ClassVar[float] = 14_400.0
    """Seconds a task of the lowest priority may wait while more urgent ones come than can end."""

    def make_router(self) -> Router:
        config = RouterConfig(name=self.router, parameters=self.parameters)
        return self.plugins().make_router(config)

    # ---- the manifest --------------------------------------------------------------------------

    def test_every_parameter_is_documented(self) -> None:
        parameters = describe_options(self.plugins().router_parameters(self.router))
        undocumented = [each.name for each in parameters if not each.help]

        assert not undocumented, f'give {", ".join(undocumented)} a metadata={{"help": ...}}'

    def test_an_unknown_parameter_is_refused_by_name(self) -> None:
        config = RouterConfig(name=self.router, parameters={"no_such_parameter": 1})

        with pytest.raises(ConfigError, match="no_such_parameter"):
            self.plugins().make_router(config)

    def test_each_router_is_a_fresh_one(self) -> None:
        assert self.make_router() is not self.make_router()

    # ---- decisions -----------------------------------------------------------------------------

    @pytest.mark.parametrize("fleet", ["few", "roomy"])
    @pytest.mark.parametrize("pattern", PATTERNS)
    def test_every_task_is_started_whatever_comes(self, pattern: str, fleet: str) -> None:
        workers = FEW_WORKERS if fleet == "few" else ROOMY_WORKERS
        policy = _Watched(
            generate(pattern, MODELS, workers, PATTERNS[pattern], seed=1), self.make_router()
        )

        outcome = _run(policy)

        assert len(outcome.endings) == len(policy.traffic.tasks)
        assert policy.scheduler.faults == 0, policy.scheduler.last_fault

    def test_the_same_traffic_leads_to_the_same_decisions(self) -> None:
        traffic = generate("again", MODELS, FEW_WORKERS, PATTERNS["bursts"], seed=2)

        first = _run(_Watched(traffic, self.make_router()))
        again = _run(_Watched(traffic, self.make_router()))

        assert [(e.worker, e.started_at) for e in first.endings] == [
            (e.worker, e.started_at) for e in again.endings
        ]

    def test_a_lone_task_is_not_left_waiting_by_idle_workers(self) -> None:
        task = TrafficTask(at=5.0, model="model-0", run=1.0)
        traffic = Traffic(name="lone", models=MODELS, workers=FEW_WORKERS, tasks=[task])

        (ending,) = _run(_Watched(traffic, self.make_router())).endings

        assert ending.wait <= MODELS[0].load, "it waited longer than its model takes to load"

    def test_the_lowest_priority_gets_its_turn(self) -> None:
        """Under endless urgent work, twice what the worker can do, its wait is bounded."""
        count = int(2 * self.longest_wait / 10)
        urgent = [
            TrafficTask(at=10.0 * n, model="model-0", run=20.0, priority=9) for n in range(count)
        ]
        lowly = TrafficTask(at=50.0, model="model-1", run=20.0)  # so that the router decides
        tasks = sorted([*urgent, lowly], key=lambda task: task.at)
        worker = SimulatedWorker(name="node/cuda-0", memory_mb=10_000)
        traffic = Traffic(name="priorities", models=MODELS, workers=[worker], tasks=tasks)

        outcome = _run(_Watched(traffic, self.make_router()))

        (ending,) = [each for each in outcome.endings if each.task is lowly]
        assert ending.wait <= self.longest_wait

    def test_a_queue_is_chosen_among_those_offered(self) -> None:
        router = self.make_router()
        queues = [
            QueueView(name="busy", device="cuda", workers=1, expected_work=100.0),
            QueueView(name="idle", device="cuda", workers=1, expected_work=0.0),
            QueueView(name="empty", device=None, workers=0, expected_work=0.0),
        ]

        for offered in (queues, queues[::-1], queues[:1], queues[2:]):
            assert router.choose_queue(offered, now=1.0) in [queue.name for queue in offered]

    def test_a_waiting_task_is_explained_in_plain_data(self) -> None:
        tasks = [TrafficTask(at=0.0, model=f"model-{n % 6}", run=5.0) for n in range(30)]
        traffic = Traffic(name="why", models=MODELS, workers=FEW_WORKERS, tasks=tasks)
        router, terms = self.make_router(), list[Mapping[str, object]]()
        score = router.score

        def explained(
            backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
        ) -> float | None:
            terms.append(router.explain(backlog, worker, board, now=now))
            return score(backlog, worker, board, now=now)

        router.__dict__["score"] = explained
        policy = _Watched(traffic, router)

        _run(policy)

        assert policy.explained, "nothing waited"
        for text in policy.explained:
            assert json.loads(text)["workers"]
        for each in terms:
            assert all(isinstance(term, float | int | str) for term in each.values()), each

    def test_taking_over_in_full_work_loses_no_task(self) -> None:
        traffic = generate("reload", MODELS, FEW_WORKERS, PATTERNS["bursts"], seed=3)
        policy = _Watched(traffic, self.make_router(), replace_with=self.make_router())

        outcome = _run(policy)

        assert policy.replace_with is None, "it was never replaced"
        assert len(outcome.endings) == len(traffic.tasks)
        assert policy.scheduler.faults == 0, policy.scheduler.last_fault


@attrs.define(eq=False)
class _Watched(EnginePolicy):
    """Looks at the engine's invariants and explanations while it works."""

    replace_with: Router | None = attrs.field(default=None, kw_only=True)
    """Takes over at the hundredth decision."""
    explained: list[str] = attrs.field(factory=list[str], init=False)
    _decisions: int = attrs.field(default=0, init=False)

    def next_grant(self, *, now: float) -> Grant | None:
        grant = EnginePolicy.next_grant(self, now=now)
        self._decisions += grant is not None
        if grant is not None and self._decisions % 50 == 0:
            self.scheduler.check_invariants()
        if self._decisions >= 100 and self.replace_with is not None:
            self.scheduler.replace_router(self.replace_with, now=now)
            self.replace_with = None
        if grant is None:
            self._explain(now)
        return grant

    def _explain(self, now: float) -> None:
        if len(self.explained) >= 5:
            return
        waiting = (TaskId(f"{number:032x}") for number in range(len(self.traffic.tasks)))
        first = next((task for task in waiting if self.scheduler.is_waiting(task)), None)
        if first is not None:
            self.explained.append(json.dumps(attrs.asdict(self.scheduler.explain(first, now=now))))


def _run(policy: EnginePolicy) -> Outcome:
    outcome = FleetSimulation(policy.traffic, policy).run()
    policy.scheduler.check_invariants()
    return outcome
