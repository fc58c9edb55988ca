"""Run many seeds in several processes; for a seed that fails, print the last events and how to
replay it.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from traceback import format_exc

from attrs import asdict

from paintmq.config import RouterConfig
from paintmq.errors import ConfigError
from paintmq.plugin.manager import PluginManager
from paintmq.routing import Router
from paintmq.testing.plain_router import PlainRouter
from tests.harness.simulation.cluster import SimulatedCluster
from tests.harness.simulation.counts import Counts
from tests.harness.simulation.oracle import judged_run
from tests.harness.simulation.shrink import calmest_weather, in_words


def run_seed(seed: int, hours: float, routers: str) -> tuple[int, Counts, str]:
    """Return the seed, what its run did, and what went wrong, if anything."""
    cluster = SimulatedCluster(seed, hours=hours, routers=router_makers(routers))
    try:
        return seed, judged_run(cluster), ""
    except Exception:  # noqa: BLE001 -- whatever went wrong is the result of this run
        last = "\n".join(cluster.last_lines())
        report = f"{last}\n{cluster.weather}\n{cluster.scale}\n{format_exc()}"
        return seed, Counts(hours=hours), report


def collect_seldom() -> None:
    """Look for garbage cycles less often: a run makes millions of values and few cycles."""
    gc.freeze()
    gc.set_threshold(50_000)


def router_makers(names: str) -> Sequence[Callable[[], Router]]:
    """Return what makes the routers with these names, separated by commas."""
    if not names:
        return (PlainRouter,)
    plugins = PluginManager.installed()
    configs = [RouterConfig(name=name) for name in names.split(",")]
    return [lambda config=config: plugins.make_router(config) for config in configs]  # type: ignore[misc]


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the simulation; return 0 if no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.harness.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--hours", type=float, default=1.0, help="simulated hours a run")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--routers",
        default="",
        help="installed routers by name, with commas: the first is used"
        " at first, others replace it now and then; else first come, first served",
    )
    parser.add_argument(
        "--json", type=Path, help="add what was seen to this file, as one line of JSON"
    )
    parser.add_argument("--trace", type=int, help="replay this seed and print all that happens")
    parser.add_argument("--shrink", type=int, help="leave out the faults this seed fails without")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    try:
        routers = router_makers(chosen.routers)
        for make_router in routers:
            make_router()
    except ConfigError as error:
        parser.error(f"--routers: {error}")
    if chosen.trace is not None:
        cluster = SimulatedCluster(chosen.trace, hours=chosen.hours, routers=routers, trace=print)
        judged_run(cluster)
        return 0
    if chosen.shrink is not None:
        needed = calmest_weather(chosen.shrink, hours=chosen.hours, routers=routers)
        verdict = "does not fail" if needed is None else f"needs {in_words(needed) or 'no faults'}"
        print(f"seed {chosen.shrink} {verdict}")  # noqa: T201
        return 0
    began = time.monotonic()
    total, failed = Counts(), []
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    again = f"--hours {chosen.hours:g}" + (f" --routers {chosen.routers}" if chosen.routers else "")
    with ProcessPoolExecutor(chosen.processes, initializer=collect_seldom) as pool:
        every = [chosen.hours] * len(seeds), [chosen.routers] * len(seeds)
        for seed, counts, wrong in pool.map(run_seed, seeds, *every, chunksize=4):
            total.add(counts)
            if wrong:
                failed.append(seed)
                replay = f"replay: {parser.prog} --trace {seed} {again}"
                print(f"seed {seed} FAILED\n{wrong}\n{replay}, or --shrink {seed}")  # noqa: T201
    seconds = time.monotonic() - began
    print(f"{seconds:.0f} s: {total.in_words()}")  # noqa: T201
    print(f"{len(failed)} of {len(seeds)} seeds failed {failed[:20] or ''}")  # noqa: T201
    if chosen.json is not None:
        run = {"first": chosen.first, "seeds": chosen.seeds, "failed": failed, "seconds": seconds}
        with chosen.json.open("a") as file:
            print(json.dumps({**run, **asdict(total)}), file=file)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
