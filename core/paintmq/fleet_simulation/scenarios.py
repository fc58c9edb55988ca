"""Named scenarios: fleets and traffic of image services, from comfortable to crowded."""

from collections.abc import Callable, Sequence

from paintmq.fleet_simulation.generators import Pattern, generate
from paintmq.fleet_simulation.traffic import SimulatedModel, SimulatedWorker, Traffic

GB = 1024


def catalogue() -> list[SimulatedModel]:
    """Return 21 models of the sizes people run: large and small diffusion, and quick ones."""
    large = [SimulatedModel(name=f"xl-{i}", load=12, run=6, memory_mb=9 * GB) for i in range(6)]
    small = [SimulatedModel(name=f"sd-{i}", load=4, run=2.5, memory_mb=4 * GB) for i in range(8)]
    quick = [
        SimulatedModel(name=name, load=load, run=run, memory_mb=memory)
        for name, load, run, memory in (
            ("lama", 3.0, 0.8, 2 * GB),
            ("mat", 4.0, 1.2, 2 * GB),
            ("fcf", 3.0, 1.0, 2 * GB),
            ("zits", 6.0, 1.5, 2560),
            ("upscale", 1.5, 1.0, 2 * GB),
            ("faces", 2.0, 0.5, 1536),
            ("background", 1.0, 0.3, 1536),
        )
    ]
    # Popular and rare models of each kind alternate, so that popularity does not follow size.
    mixed: list[SimulatedModel] = []
    for place in range(8):
        mixed += [kind[place] for kind in (quick, small, large) if place < len(kind)]
    return mixed


def rare_models() -> list[SimulatedModel]:
    """Return 60 models of one kind, most of them rarely requested."""
    return [SimulatedModel(name=f"m-{i:02}", load=6, run=3, memory_mb=5 * GB) for i in range(60)]


def fleet(*gigabytes: int) -> list[SimulatedWorker]:
    return [
        SimulatedWorker(name=f"node-{place}/cuda-0", memory_mb=size * GB)
        for place, size in enumerate(gigabytes)
    ]


ROOMY = (24, 24, 24, 24, 16, 16, 12, 12)
"""The catalogue just about fits into memory."""
TIGHT = (24, 24, 16, 12)
"""The catalogue does not fit."""

_Maker = Callable[[int, int], Traffic]


def _scenario(
    name: str,
    models: Sequence[SimulatedModel],
    workers: Sequence[SimulatedWorker],
    **pattern: object,
) -> tuple[str, _Maker]:
    def make(tasks: int, seed: int) -> Traffic:
        shape = Pattern(tasks=tasks, **pattern)  # type: ignore[arg-type]  # checked by attrs users
        return generate(name, models, workers, shape, seed=seed)

    return name, make


SCENARIOS: dict[str, _Maker] = dict(
    [
        _scenario("steady, roomy", catalogue(), fleet(*ROOMY), load=0.5, skew=0.9, hot_share=0.3),
        _scenario("crowded, roomy", catalogue(), fleet(*ROOMY), load=0.65, skew=0.9, hot_share=0.3),
        _scenario("skewed, tight", catalogue(), fleet(*TIGHT), load=0.45, skew=1.2),
        _scenario("even, tight", catalogue(), fleet(*TIGHT), load=0.3, skew=0.3),
        _scenario(
            "bursty", catalogue(), fleet(*ROOMY), load=0.5, skew=0.8, burst_every=40, burst_size=30
        ),
        _scenario("many rare models", rare_models(), fleet(*ROOMY), load=0.4, skew=1.0),
        _scenario(
            "mixed sizes",
            catalogue(),
            fleet(*ROOMY),
            load=0.5,
            sizes=(300_000, 1_000_000, 2_000_000, 4_000_000),
        ),
        _scenario(
            "priorities",
            catalogue(),
            fleet(*TIGHT),
            load=0.4,
            priorities={0: 0.6, 4: 0.3, 9: 0.1},
        ),
        _scenario(
            "tenants",
            catalogue(),
            fleet(*ROOMY),
            load=0.4,
            tenants={"a": 0.5, "b": 0.3, "c": 0.2},
            dump_tenant="dumper",
            dump_size=200,
        ),
        _scenario("one big worker", catalogue(), fleet(48), load=0.5, skew=0.9),
        _scenario(
            "cheap loads",
            [
                SimulatedModel(name=m.name, load=m.load * 0.1, run=m.run, memory_mb=m.memory_mb)
                for m in catalogue()
            ],
            fleet(*TIGHT),
            load=0.7,
            skew=0.6,
        ),
    ]
)
"""By name: make(tasks, seed)."""
