"""Filters: whether a worker can run a task at all, and the reason if it cannot."""

from collections.abc import Collection, Iterable, Mapping

from attrs import frozen

from paintmq.model import Needs
from paintmq.plugin.catalog import CheckedTask
from paintmq.task import DeviceKind
from paintmq.wire.messages import WorkerHello


@frozen
class Profile:
    """What a worker can do, as far as filters are concerned; many workers share one profile."""

    device: DeviceKind
    gpu_memory_mb: int
    memory_mb: int
    """0 when unknown."""
    cores: int
    models: frozenset[str]
    unavailable: tuple[tuple[str, str], ...]
    queues: tuple[str, ...] | None = None
    """The queues its key allows, sorted; None: all."""


def profile_of(hello: WorkerHello, queues: Iterable[str] | None = None) -> Profile:
    """Return the worker's profile; ``queues`` limits it to those its key allows."""
    return Profile(
        device=hello.device,
        gpu_memory_mb=hello.gpu_memory_mb,
        memory_mb=hello.memory_mb,
        cores=hello.cores,
        models=frozenset(hello.models),
        unavailable=tuple(sorted(hello.unavailable.items())),
        queues=None if queues is None else tuple(sorted(queues)),
    )


def needs_objection(profile: Profile, needs: Needs) -> str:
    """Return what the worker lacks; empty if it has enough of everything."""
    if profile.device == "cuda" and needs.gpu_memory_mb > profile.gpu_memory_mb:
        return f"needs {needs.gpu_memory_mb} MB GPU memory, has {profile.gpu_memory_mb}"
    if profile.memory_mb and needs.memory_mb > profile.memory_mb:
        return f"needs {needs.memory_mb} MB memory, has {profile.memory_mb}"
    if needs.cores > profile.cores:
        return f"needs {needs.cores} CPU cores, has {profile.cores}"
    return ""


def model_objection(profile: Profile, model: str) -> str:
    """Return why the worker does not offer the model; empty if it does."""
    if model in profile.models:
        return ""
    reason = dict(profile.unavailable).get(model, "no installed plugin provides it there")
    return f"does not offer {model}: {reason}"


def queue_objection(profile: Profile, queues: Iterable[str]) -> str:
    """Return why the worker's key allows none of these queues; empty if it allows one."""
    if profile.queues is None or not set(queues).isdisjoint(profile.queues):
        return ""
    return f"has a key for {' and '.join(profile.queues)} alone"


def objection(profile: Profile, checked: CheckedTask, queues: Iterable[str]) -> str:
    """Return why such a worker can never run the task in any of these queues; empty if it can."""
    if profile.device not in checked.jobs:
        return f"runs {profile.device} tasks, needs {' or '.join(checked.jobs)}"
    return (
        model_objection(profile, checked.spec.name)
        or needs_objection(profile, checked.needs[profile.device])
        or queue_objection(profile, queues)
    )


def spread(
    profile: Profile,
    lowest: Mapping[DeviceKind, Needs],
    highest: Mapping[DeviceKind, Needs],
    queues: Collection[str],
) -> bool | None:
    """Return whether all (True) or none (False) of the tasks fit that have needs in these bounds
    and come from these queues.

    None: some may.
    """
    device = profile.device
    if device not in highest or queue_objection(profile, queues):
        return False
    if needs_objection(profile, lowest[device]):
        return False
    if profile.queues is not None and not set(queues).issubset(profile.queues):
        return None
    return True if not needs_objection(profile, highest[device]) else None
