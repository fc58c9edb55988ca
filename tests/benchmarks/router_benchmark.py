"""model-affinity against what others do, on named traces or on scenarios drawn at random.

python -m tests.benchmarks.router_benchmark [--tasks 2000] [--seeds 3] [--objective balanced]
python -m tests.benchmarks.router_benchmark --random 40 --seed 1000 [--seeds 3]

Prints a Markdown table, then the ratio to each rival, and to the best of all rivals on each trace.
The random scenarios 0 to 40 and 500 to 559 were looked at one by one while model-affinity was made;
those from 1000 on were not, so they say what to expect of traffic that nobody tuned for.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from math import exp, log
from statistics import mean
from typing import TypeAlias

from attrs import frozen

from paintmq.fleet_simulation.engine_policy import EnginePolicy
from paintmq.fleet_simulation.fleet import FleetSimulation, Policy
from paintmq.fleet_simulation.random_scenarios import describe, random_scenario
from paintmq.fleet_simulation.rivals import RIVALS, clairvoyant_mean
from paintmq.fleet_simulation.scenarios import SCENARIOS
from paintmq.fleet_simulation.summary import summarise
from paintmq.fleet_simulation.traffic import Traffic
from paintmq_routers.affinity_parameters import ModelAffinityParameters
from paintmq_routers.model_affinity import ModelAffinity
from tests.benchmarks.page import run_with_page

OURS = "model-affinity"
NOISE = 1.05
"""A ratio up to this is no difference: what three seeds of one trace differ by on average."""


@frozen
class Cell:
    """What one policy made of one trace, over all seeds."""

    mean: float
    p99: float
    loads: float


Row: TypeAlias = Mapping[str, Cell]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=3, help="traces of each scenario")
    parser.add_argument("--objective", default="balanced")
    parser.add_argument("--random", type=int, default=0, help="draw so many scenarios")
    parser.add_argument("--seed", type=int, default=0, help="the first one's number")
    arguments = parser.parse_args()
    parameters = ModelAffinityParameters(objective=arguments.objective)
    policies: dict[str, Callable[[Traffic], Policy]] = {rival.name: rival for rival in RIVALS}
    policies[OURS] = lambda traffic: EnginePolicy(traffic, ModelAffinity(parameters))
    print(f"| trace | {' | '.join(policies)} | bound |")
    print("| --- " * (len(policies) + 2) + "|")
    table = dict[str, dict[str, Cell]]()
    for name, traces in scenarios(arguments):
        row = {key: measure(policy, traces) for key, policy in policies.items()}
        table[name] = row
        shown = [f"{c.mean:.3g} / {c.p99:.3g} / {c.loads:.0f}" for c in row.values()]
        bound = mean(clairvoyant_mean(traffic) for traffic in traces)
        print(f"| {name} | {' | '.join(shown)} | {bound:.3g} |", flush=True)
    print()
    compare(list(table.values()))
    for name, cells in table.items():
        by_mean, by_p99 = best(cells)
        print(
            f"{name}: mean {cells[OURS].mean / cells[by_mean].mean:.2f} of {by_mean},"
            f" p99 {cells[OURS].p99 / cells[by_p99].p99:.2f} of {by_p99}"
        )


def scenarios(arguments: argparse.Namespace) -> Sequence[tuple[str, list[Traffic]]]:
    seeds, tasks = range(arguments.seeds), arguments.tasks
    if not arguments.random:
        return [(name, [make(tasks, seed) for seed in seeds]) for name, make in SCENARIOS.items()]
    drawn = []
    for number in range(arguments.seed, arguments.seed + arguments.random):
        traces = [random_scenario(number, tasks=tasks, traffic_seed=seed) for seed in seeds]
        drawn.append((f"{number}: {describe(traces[0])}", traces))
    return drawn


def compare(rows: Sequence[Row]) -> None:
    for rival in RIVALS:
        pairs = [(row[OURS], row[rival.name]) for row in rows]
        print(
            f"against {rival.name}: mean {geometric([a.mean / b.mean for a, b in pairs]):.2f},"
            f" p99 {geometric([a.p99 / b.p99 for a, b in pairs]):.2f},"
            f" loads {sum(a.loads for a, _ in pairs) / sum(b.loads for _, b in pairs):.2f}"
        )
    means = [row[OURS].mean / row[best(row)[0]].mean for row in rows]
    p99s = [row[OURS].p99 / row[best(row)[1]].p99 for row in rows]
    print(
        f"against the best rival of each trace: mean {geometric(means):.2f}, at worst"
        f" {max(means):.2f}, above {NOISE} on {sum(ratio > NOISE for ratio in means)};"
        f" p99 {geometric(p99s):.2f}, at worst {max(p99s):.2f}, above {NOISE} on"
        f" {sum(ratio > NOISE for ratio in p99s)} of {len(rows)}"
    )


def best(row: Row) -> tuple[str, str]:
    """Return the names of the rivals with the lowest mean and the lowest p99."""
    rivals = [rival.name for rival in RIVALS]
    return min(rivals, key=lambda name: row[name].mean), min(rivals, key=lambda name: row[name].p99)


def measure(policy: Callable[[Traffic], Policy], traces: list[Traffic]) -> Cell:
    summaries = [
        summarise("", FleetSimulation(traffic, policy(traffic)).run()) for traffic in traces
    ]
    return Cell(
        mean=mean(summary.all.mean for summary in summaries),
        p99=mean(summary.all.p99_latency for summary in summaries),
        loads=mean(summary.loads for summary in summaries),
    )


def geometric(ratios: Sequence[float]) -> float:
    return exp(mean(log(ratio) for ratio in ratios))


if __name__ == "__main__":
    run_with_page(main)
