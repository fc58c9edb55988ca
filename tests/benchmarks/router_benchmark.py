"""model-affinity against what others do, on many traces; prints a Markdown table.

python tests/benchmarks/router_benchmark.py [--tasks 2000] [--seeds 3] [--objective balanced]
"""

import argparse
from collections.abc import Callable
from math import exp, log
from statistics import mean

from attrs import frozen

from paintmq.fleet_simulation.engine_policy import EnginePolicy
from paintmq.fleet_simulation.fleet import FleetSimulation, Policy
from paintmq.fleet_simulation.rivals import RIVALS, clairvoyant_mean
from paintmq.fleet_simulation.scenarios import SCENARIOS
from paintmq.fleet_simulation.summary import summarise
from paintmq.fleet_simulation.traffic import Traffic
from paintmq_routers.affinity_parameters import ModelAffinityParameters
from paintmq_routers.model_affinity import ModelAffinity

OURS = "model-affinity"


@frozen
class Cell:
    """What one policy made of one trace, over all seeds."""

    mean: float
    p99: float
    loads: float


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--objective", default="balanced")
    arguments = parser.parse_args()
    parameters = ModelAffinityParameters(objective=arguments.objective)
    policies: dict[str, Callable[[Traffic], Policy]] = {rival.name: rival for rival in RIVALS}
    policies[OURS] = lambda traffic: EnginePolicy(traffic, ModelAffinity(parameters))
    print(f"| trace | {' | '.join(policies)} | bound |")
    print("| --- " * (len(policies) + 2) + "|")
    table: dict[str, dict[str, Cell]] = {}
    for scenario, make in SCENARIOS.items():
        traces = [make(arguments.tasks, seed) for seed in range(arguments.seeds)]
        table[scenario] = {name: measure(policy, traces) for name, policy in policies.items()}
        cells = [f"{c.mean:.1f} / {c.p99:.0f} / {c.loads:.0f}" for c in table[scenario].values()]
        bound = mean(clairvoyant_mean(traffic) for traffic in traces)
        print(f"| {scenario} | {' | '.join(cells)} | {bound:.1f} |", flush=True)
    print()
    for rival in RIVALS:
        ratios = [(row[OURS], row[rival.name]) for row in table.values()]
        print(
            f"against {rival.name}: mean {geometric([a.mean / b.mean for a, b in ratios]):.2f},"
            f" p99 {geometric([a.p99 / b.p99 for a, b in ratios]):.2f},"
            f" loads {sum(a.loads for a, _ in ratios) / sum(b.loads for _, b in ratios):.2f}"
        )
    for scenario, row in table.items():
        others = [cell for name, cell in row.items() if name != OURS]
        best_mean, best_p99 = min(c.mean for c in others), min(c.p99 for c in others)
        print(
            f"{scenario}: mean {row[OURS].mean / best_mean:.2f},"
            f" p99 {row[OURS].p99 / best_p99:.2f} of the best rival's"
        )


def measure(policy: Callable[[Traffic], Policy], traces: list[Traffic]) -> Cell:
    summaries = [
        summarise("", FleetSimulation(traffic, policy(traffic)).run()) for traffic in traces
    ]
    return Cell(
        mean=mean(summary.all.mean for summary in summaries),
        p99=mean(summary.all.p99_latency for summary in summaries),
        loads=mean(summary.loads for summary in summaries),
    )


def geometric(ratios: list[float]) -> float:
    return exp(mean(log(ratio) for ratio in ratios))


if __name__ == "__main__":
    main()
