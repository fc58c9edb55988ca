"""Run many seeds, on all cores; a seed that fails prints how to replay it."""

import argparse
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from traceback import format_exc

from paintmq.testing.simulation.cluster import Counts, Scale, SimulatedCluster


def run_seed(seed: int, hours: float) -> tuple[int, Counts, str]:
    """Return the seed, what its run did, and what went wrong, if anything."""
    cluster = SimulatedCluster(seed, scale=Scale(hours=hours))
    try:
        return seed, cluster.run(), ""
    except Exception:  # noqa: BLE001 -- whatever went wrong is the result of this run
        last = "\n".join(cluster.last_lines())
        return seed, Counts(hours=hours), f"{last}\n{cluster.weather}\n{format_exc()}"


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the simulation; return 0 if no promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m paintmq.testing.simulation", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--hours", type=float, default=1.0, help="simulated hours a run")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--trace", type=int, help="replay this seed and print all that happens")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    if chosen.trace is not None:
        SimulatedCluster(chosen.trace, scale=Scale(hours=chosen.hours), trace=print).run()
        return 0
    began = time.monotonic()
    total, failed = Counts(), []
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    with ProcessPoolExecutor(chosen.processes) as pool:
        for seed, counts, wrong in pool.map(
            run_seed, seeds, [chosen.hours] * len(seeds), chunksize=4
        ):
            total.add(counts)
            if wrong:
                failed.append(seed)
                print(f"seed {seed} FAILED\n{wrong}\nreplay: --trace {seed} --hours {chosen.hours}")  # noqa: T201
    report(total, failed, time.monotonic() - began)
    return 1 if failed else 0


def report(total: Counts, failed: list[int], seconds: float) -> None:
    endings = ", ".join(f"{count} {state}" for state, count in sorted(total.endings.items()))
    print(  # noqa: T201
        f"{total.hours:g} simulated hours in {seconds:.0f} s: {total.tasks} tasks ({endings}), "
        f"{total.faults} faults, {total.messages} messages, {total.message_faults} lost or "
        f"doubled, {total.events} events; {len(failed)} seeds failed {failed[:20] or ''}"
    )


if __name__ == "__main__":
    sys.exit(main())
