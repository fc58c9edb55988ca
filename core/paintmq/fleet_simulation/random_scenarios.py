"""Scenarios drawn at random over wide ranges, so that no policy is tuned to a few named ones."""

import random
from collections.abc import Mapping, Sequence

from paintmq.fleet_simulation.generators import Pattern, generate
from paintmq.fleet_simulation.traffic import SimulatedModel, SimulatedWorker, Traffic

MEAN_MODEL_MB = 4096


def random_scenario(seed: int, *, tasks: int = 2_000, traffic_seed: int = 0) -> Traffic:
    """Return a fleet and traffic; the same seeds give the same ones.

    Another ``traffic_seed`` gives other traffic of the same pattern for the same fleet.

    Drawn: 1 to 64 workers with memory for 0.3 to 20 average models (a model always fits the largest
    worker), alike or of different sizes and speeds; 2 to 500 models that run 0.05 to 10 seconds and
    take 0.1 to 100 times as long to load; 30 to 130 % of the fleet's time spent running; popularity
    from even to steep; single tasks or batches, steady or in bursts, with a hot model or without;
    priorities and tenants.
    """
    rng = random.Random(f"scenario {seed}")
    workers = _workers(rng)
    models = _models(rng, max(worker.memory_mb for worker in workers))
    pattern = _pattern(rng, tasks, models, workers)
    return generate(f"random {seed}", models, workers, pattern, seed=traffic_seed)


def describe(traffic: Traffic) -> str:
    """Return a scenario's main figures in one line."""
    models, workers = traffic.models, traffic.workers
    memory = sum(model.memory_mb for model in models) / len(models)
    room = sum(worker.memory_mb for worker in workers) / len(workers) / memory
    ratio = sum(model.load for model in models) / sum(model.run for model in models)
    work = sum(task.run for task in traffic.tasks)
    span = traffic.tasks[-1].at - traffic.tasks[0].at
    busy = work / max(span, 1e-9) / sum(worker.speed for worker in workers)
    tenants = len({task.tenant for task in traffic.tasks})
    levels = len({task.priority for task in traffic.tasks})
    return (
        f"{len(workers)} workers with room for {room:.1f} of {len(models)} models,"
        f" load/run {ratio:.1f}, run {work / len(traffic.tasks):.2f} s, busy {100 * busy:.0f} %,"
        f" {tenants} tenants, {levels} levels"
    )


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return float(low * (high / low) ** rng.random())


def _workers(rng: random.Random) -> Sequence[SimulatedWorker]:
    count = round(_log_uniform(rng, 1, 64))
    memory = _log_uniform(rng, 0.3, 20) * MEAN_MODEL_MB
    mixed = rng.random() < 0.4
    return [
        SimulatedWorker(
            name=f"node-{place}/cuda-0",
            memory_mb=round(memory * (rng.choice((0.5, 1, 2)) if mixed else 1)),
            speed=rng.choice((0.5, 1.0, 2.0)) if mixed else 1.0,
        )
        for place in range(count)
    ]


def _models(rng: random.Random, largest_mb: int) -> Sequence[SimulatedModel]:
    count = round(_log_uniform(rng, 2, 500))
    run = _log_uniform(rng, 0.05, 10)
    ratio = _log_uniform(rng, 0.1, 100)
    variety = rng.choice((0.0, 0.3, 0.8))
    models = []
    for place in range(count):
        size = rng.lognormvariate(0, variety)
        own_run = run * rng.lognormvariate(0, variety)
        models.append(
            SimulatedModel(
                name=f"m-{place:03}",
                load=own_run * ratio * rng.lognormvariate(0, variety / 2),
                run=own_run,
                memory_mb=max(1, min(largest_mb, round(MEAN_MODEL_MB * size))),
            )
        )
    return models


def _pattern(
    rng: random.Random,
    tasks: int,
    models: Sequence[SimulatedModel],
    workers: Sequence[SimulatedWorker],
) -> Pattern:
    load = rng.uniform(0.3, 1.3)
    run = sum(model.run for model in models) / len(models)
    # Bursts bring a fifth of the tasks, each as many at once as the fleet completes in a few runs.
    burst_size = round(_log_uniform(rng, 5, 100)) if rng.random() < 0.3 else 0
    rate = load * sum(worker.speed for worker in workers) / run
    return Pattern(
        tasks=tasks,
        load=load,
        skew=rng.uniform(0, 1.6),
        spread=rng.choice((0.0, 0.3, 0.8)),
        batch=_log_uniform(rng, 1, 20) if rng.random() < 0.4 else 1.0,
        burst_every=5 * burst_size / rate if burst_size else 0.0,
        burst_size=burst_size,
        hot_share=rng.choice((0.0, 0.0, 0.3)),
        hot_seconds=200 / rate,
        priorities=rng.choice(({0: 1.0}, {0: 1.0}, _priorities(rng))),
        tenants=rng.choice(({"": 1.0}, {"": 1.0}, {"": 1.0}, _tenants(rng))),
    )


def _priorities(rng: random.Random) -> Mapping[int, float]:
    return {0: rng.uniform(0.3, 0.9), 4: rng.uniform(0.1, 0.5), 9: rng.uniform(0.02, 0.2)}


def _tenants(rng: random.Random) -> Mapping[str, float]:
    return {f"tenant-{place}": rng.uniform(0.1, 1.0) for place in range(rng.randint(2, 20))}
