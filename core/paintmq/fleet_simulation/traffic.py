"""The input of a simulation: models, workers and arriving tasks."""

from collections.abc import Sequence

from attrs import field, frozen

from paintmq.model import Job, ModelSpec, Needs
from paintmq.task import DeviceKind


@frozen(kw_only=True)
class SimulatedModel:
    """A model as the fleet experiences it."""

    name: str
    load: float = 5.0
    """Seconds to load it; the truth, and what its spec declares."""
    run: float = 1.0
    """Seconds a typical task runs: what its spec declares. Traces say how long each really ran."""
    memory_mb: int = 1024
    """What it keeps while resident."""
    device: DeviceKind = "cuda"

    def spec(self) -> ModelSpec:
        return ModelSpec(
            name=self.name,
            implementation="simulated:Model",
            devices=(self.device,),
            needs=self._needs,
            load_seconds=self.load,
            run_seconds=lambda job: self.run * max(1.0, job.pixels / 1e6),
            resident_mb=self.memory_mb,
        )

    def _needs(self, job: Job) -> Needs:
        on_gpu = job.device == "cuda"
        return Needs(gpu_memory_mb=self.memory_mb if on_gpu else 0, memory_mb=0)


@frozen(kw_only=True)
class SimulatedWorker:
    """A worker of the fleet."""

    name: str
    memory_mb: int = 24_576
    device: DeviceKind = "cuda"
    speed: float = 1.0
    """2.0 runs and loads twice as fast."""
    pinned: tuple[str, ...] = ()


@frozen(kw_only=True)
class TrafficTask:
    """One task of a trace."""

    at: float
    model: str
    run: float
    """Seconds it really runs on a worker of speed 1."""
    priority: int = 0
    tenant: str = ""
    pixels: int = 0
    """Of its image; lets the declared run time follow the size."""


@frozen(kw_only=True)
class Traffic:
    """A whole scenario."""

    name: str
    models: Sequence[SimulatedModel]
    workers: Sequence[SimulatedWorker]
    tasks: Sequence[TrafficTask] = field(repr=False)
    """In order of arrival."""
    ageing: float = 60.0
    """Seconds of waiting that one level of priority is worth."""
