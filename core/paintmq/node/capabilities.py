"""What this machine can do: its cores, memory and GPUs, and which models run on which of them."""

from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import TypeAlias

from attrs import frozen

from paintmq.config import QueueConfig
from paintmq.model import API_VERSION, ModelSpec
from paintmq.node.gpus import Gpu, find_gpus
from paintmq.process.cgroups import usable_cores, usable_memory_mb
from paintmq.task import DeviceKind

FindModule: TypeAlias = Callable[[str], ModuleSpec | None]

LIGHT_CORES = 4
"""A worker with fewer cores is at home among light tasks."""


@frozen(kw_only=True)
class Capabilities:
    """What one machine has to offer."""

    cores: int
    memory_mb: int
    gpus: tuple[Gpu, ...] = ()
    no_gpus_because: str = ""


def detect() -> Capabilities:
    """Look at the machine, within what this process may use of it."""
    found = find_gpus()
    return Capabilities(
        cores=usable_cores(),
        memory_mb=usable_memory_mb(),
        gpus=found.gpus,
        no_gpus_because=found.reason,
    )


@frozen(kw_only=True)
class Offer:
    """Which models a worker can run, and why not the others."""

    models: tuple[str, ...]
    unavailable: Mapping[str, str]


def offer(
    specs: Mapping[str, ModelSpec], device: DeviceKind, *, find_module: FindModule = find_spec
) -> Offer:
    """Return what can run on the device with what is installed; nothing is imported for it."""
    reasons = {name: _why_not(spec, device, find_module) for name, spec in specs.items()}
    return Offer(
        models=tuple(name for name, reason in reasons.items() if not reason),
        unavailable={name: reason for name, reason in reasons.items() if reason},
    )


def _why_not(spec: ModelSpec, device: DeviceKind, find_module: FindModule) -> str:
    if device not in spec.devices:
        return f"it runs on {' and '.join(spec.devices)}, this worker on {device}"
    if not API_VERSION - 1 <= spec.api <= API_VERSION:
        return f"it was written for interface {spec.api} of PaintMQ, this is {API_VERSION}"
    missing = [name for name in spec.requires if not _is_importable(name, find_module)]
    if not missing:
        return ""
    remedy = f"; install {spec.extra}" if spec.extra else ""
    return f"it needs {', '.join(missing)}{remedy}"


def _is_importable(name: str, find_module: FindModule) -> bool:
    # Only the top package: find_spec of a submodule would import its parents.
    try:
        return find_module(name.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def home_queue(
    queues: Mapping[str, QueueConfig], device: DeviceKind, *, cores: int, gpu_memory_mb: int = 0
) -> str:
    """Return the queue whose port a worker connects to; empty if no queue is for its device.

    A GPU worker is at home in the most demanding queue it satisfies, a CPU worker where tasks of
    its strength wait. It only decides where the worker connects: the broker gives it any task that
    it can run.
    """
    fitting = {name: queue for name, queue in queues.items() if queue.device == device}
    if device == "cuda":
        met = {n: q for n, q in fitting.items() if q.gpu_memory_mb <= gpu_memory_mb}
        if met:
            return max(met, key=lambda name: met[name].gpu_memory_mb)
        return min(fitting, key=lambda name: fitting[name].gpu_memory_mb, default="")
    order = ["light", "any", "intensive"] if cores < LIGHT_CORES else ["intensive", "any", "light"]
    return min(fitting, key=lambda name: order.index(fitting[name].effort), default="")
