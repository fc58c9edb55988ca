"""What a machine may have measured of itself."""

from typing import Any

from attrs import evolve

from paintmq.statistics import GpuMetrics, SystemMetrics

_IDLE_ENOUGH = SystemMetrics(
    cpu=0.5, load=1.0, memory_used_mb=1, memory_total_mb=2, process_memory_mb=1, process_threads=1
)
_GPU = GpuMetrics(name="H", memory_used_mb=7, memory_total_mb=9, utilisation=0.5)


def make_system(
    *, gpus: int = 0, utilisation: float = 0.5, power: float = 50.0, **changes: Any
) -> SystemMetrics:
    """Return a measurement with so many GPUs, all alike; ``power`` in watts."""
    gpu = evolve(_GPU, utilisation=utilisation, power=power)
    return evolve(_IDLE_ENOUGH, gpus=(gpu,) * gpus, **changes)
