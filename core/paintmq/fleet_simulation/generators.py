"""Generates traces from a few numbers: skewed, bursty, with tenants and priorities."""

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from attrs import frozen

from paintmq.fleet_simulation.traffic import SimulatedModel, SimulatedWorker, Traffic, TrafficTask

_T = TypeVar("_T")


@frozen(kw_only=True)
class Pattern:
    """How tasks arrive."""

    tasks: int = 2_000
    load: float = 0.5
    """Share of the fleet's time spent running, not counting loads."""
    skew: float = 1.0
    """Zipf exponent of the models' popularity, in their order; 0: all the same."""
    spread: float = 0.3
    """Sigma of the lognormal factor on run times."""
    batch: float = 1.0
    """Average number of tasks for one model that arrive together (geometric); 1: each by
    itself."""
    burst_every: float = 0.0
    """Average seconds between bursts of one model; 0: none."""
    burst_size: int = 0
    hot_share: float = 0.0
    """Share of tasks that go to one hot model, which changes every ``hot_seconds``."""
    hot_seconds: float = 120.0
    priorities: Mapping[int, float] = {0: 1.0}
    """Shares of the priorities."""
    tenants: Mapping[str, float] = {"": 1.0}
    """Shares of the tenants."""
    dump_tenant: str = ""
    """A tenant that submits ``dump_size`` tasks at once, after a quarter of the time."""
    dump_size: int = 0
    sizes: Sequence[int] = (0,)
    """Image sizes in pixels, equally frequent; run times grow with them beyond a megapixel."""


def generate(
    name: str,
    models: Sequence[SimulatedModel],
    workers: Sequence[SimulatedWorker],
    pattern: Pattern,
    *,
    seed: int,
) -> Traffic:
    """Return a trace of the pattern for the fleet; the same seed gives the same trace."""
    rng = random.Random(seed)
    weights = [1.0 / (place + 1) ** pattern.skew for place in range(len(models))]
    scale = [max(1.0, pixels / 1e6) for pixels in pattern.sizes]
    mean_run = sum(w * m.run for w, m in zip(weights, models, strict=True)) / sum(weights)
    mean_run *= sum(scale) / len(scale)
    rate = pattern.load * sum(worker.speed for worker in workers) / mean_run
    if pattern.burst_size and pattern.burst_every:
        rate = max(rate * 0.2, rate - pattern.burst_size / pattern.burst_every)
    tasks: list[TrafficTask] = []

    def add(at: float, model: SimulatedModel, tenant: str | None = None) -> None:
        pixels = rng.choice(list(pattern.sizes))
        tasks.append(
            TrafficTask(
                at=at,
                model=model.name,
                run=model.run * max(1.0, pixels / 1e6) * rng.lognormvariate(0, pattern.spread),
                priority=_draw(rng, pattern.priorities),
                tenant=_draw(rng, pattern.tenants) if tenant is None else tenant,
                pixels=pixels,
            )
        )

    now, hot, hot_until = 0.0, rng.choice(list(models)), pattern.hot_seconds
    next_burst = rng.expovariate(1 / pattern.burst_every) if pattern.burst_every else float("inf")
    while len(tasks) < pattern.tasks - pattern.dump_size:
        now += rng.expovariate(rate / pattern.batch)
        if now >= hot_until:
            hot, hot_until = rng.choice(list(models)), now + pattern.hot_seconds
        while next_burst <= now:
            model = rng.choices(list(models), weights)[0]
            for place in range(pattern.burst_size):
                add(next_burst + 0.02 * place, model)
            next_burst += rng.expovariate(1 / pattern.burst_every)
        is_hot = rng.random() < pattern.hot_share
        model = hot if is_hot else rng.choices(list(models), weights)[0]
        add(now, model)
        while pattern.batch > 1 and rng.random() > 1 / pattern.batch:
            add(now, model)
    for place in range(pattern.dump_size):
        model = models[0]
        add(now / 4 + 0.01 * place, model, pattern.dump_tenant)
    tasks.sort(key=lambda task: task.at)
    return Traffic(name=name, models=models, workers=workers, tasks=tasks)


def _draw(rng: random.Random, shares: Mapping[_T, float]) -> _T:
    return rng.choices(list(shares), list(shares.values()))[0]
