"""Figures that summarise a simulation."""

from collections.abc import Sequence

from attrs import frozen

from paintmq.fleet_simulation.fleet import Ending, Outcome


@frozen(kw_only=True)
class Figures:
    """Of a group of tasks. Seconds."""

    tasks: int
    mean: float
    """Latency: from arrival to the end."""
    p50: float
    p95: float
    p99: float
    """Waits: from arrival to the start of the run."""
    p99_latency: float


@frozen(kw_only=True)
class Summary:
    """What one policy made of one trace."""

    policy: str
    all: Figures
    throughput: float
    """Tasks an hour, from the first arrival to the last ending."""
    loads: int
    load_seconds: float
    by_model: dict[str, Figures]
    by_priority: dict[int, Figures]
    by_tenant: dict[str, Figures]


def summarise(policy: str, outcome: Outcome) -> Summary:
    """Return the figures of an outcome."""
    endings = outcome.endings
    models: dict[str, list[Ending]] = {}
    priorities: dict[int, list[Ending]] = {}
    tenants: dict[str, list[Ending]] = {}
    for ending in endings:
        models.setdefault(ending.task.model, []).append(ending)
        priorities.setdefault(ending.task.priority, []).append(ending)
        tenants.setdefault(ending.task.tenant, []).append(ending)
    span = max(outcome.ended_at - endings[0].task.at, 1e-9) if endings else 1.0
    return Summary(
        policy=policy,
        all=figures(endings),
        throughput=3600 * len(endings) / span,
        loads=outcome.loads,
        load_seconds=outcome.load_seconds,
        by_model={key: figures(models[key]) for key in sorted(models)},
        by_priority={key: figures(priorities[key]) for key in sorted(priorities, reverse=True)},
        by_tenant={key: figures(tenants[key]) for key in sorted(tenants)},
    )


def figures(endings: Sequence[Ending]) -> Figures:
    waits = sorted(ending.wait for ending in endings)
    latencies = sorted(ending.latency for ending in endings)
    return Figures(
        tasks=len(endings),
        mean=sum(latencies) / len(latencies) if latencies else 0.0,
        p50=percentile(waits, 0.50),
        p95=percentile(waits, 0.95),
        p99=percentile(waits, 0.99),
        p99_latency=percentile(latencies, 0.99),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
