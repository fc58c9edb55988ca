"""A scheduling engine to play with: tasks and workers that need only what a test is about."""

import random
from collections.abc import Iterable, Sequence

from paintmq.broker.scheduling.scheduler import Pick, Scheduler, Waiting
from paintmq.model import Job, ModelSpec, Needs
from paintmq.plugin.catalog import Catalog
from paintmq.routing import Router
from paintmq.task import PayloadInfo, PeerId, TaskId, TaskRequest
from paintmq.testing.plain_router import PlainRouter
from paintmq.wire.messages import WorkerHello


def _memory(job: Job) -> Needs:
    return Needs(memory_mb=job.pixels // 1000)


CATALOG = Catalog(
    [
        ModelSpec(name="plain", implementation="m:M", resident_mb=300),
        ModelSpec(name="sized", implementation="m:M", needs=_memory, resident_mb=300),
        ModelSpec(
            name="batching",
            implementation="m:M",
            max_batch=4,
            batch_key=lambda job: str(job.pixels),
            resident_mb=300,
        ),
        ModelSpec(name="either", implementation="m:M", devices=("cuda", "cpu"), resident_mb=300),
    ]
)
SHORT = {"run_seconds": lambda job: 0.01}


def make_task(
    number: int,
    model: str = "plain",
    *,
    at: float = 0.0,
    priority: int = 0,
    tenant: str = "",
    pixels: int = 0,
    not_before: float = 0.0,
    suspect: bool = False,
    excluded: tuple[str, ...] = (),
    queue: str = "cpu-light",
    catalog: Catalog = CATALOG,
) -> Waiting:
    """Return a task as the engine is given it; the number becomes its id and breaks no ties."""
    image = PayloadInfo(name="image", size=1, digest="", kind="file", width=pixels, height=1)
    request = TaskRequest(
        id=TaskId(f"{number:032x}"),
        task_type="plugin",
        model=model,
        priority=priority,
        tenant=tenant,
        inputs=(image,) if pixels else (),
    )
    return Waiting(
        request=request,
        checked=catalog.check(request),
        queue=queue,
        rank=at - 60.0 * priority,
        not_before=not_before,
        suspect=suspect,
        excluded=excluded,
    )


def make_worker(
    name: str,
    *,
    models: Sequence[str] = ("plain", "sized", "batching", "either"),
    memory_mb: int = 1000,
    credit: int = 1,
    queue: str = "cpu-light",
) -> WorkerHello:
    """Return the introduction of a CPU worker."""
    return WorkerHello(
        name=name,
        node="node",
        queue=queue,
        device="cpu",
        memory_mb=memory_mb,
        cores=4,
        models=tuple(models),
        credit=credit,
    )


def make_scheduler(router: Router | None = None, *, tenant_window: int = 8) -> Scheduler:
    """Return an engine without tasks or workers."""
    return Scheduler(router or PlainRouter(), tenant_window=tenant_window, rng=random.Random(0))


def session(name: str) -> PeerId:
    """Return the connection of the worker of that name."""
    return PeerId(name.encode())


def join(scheduler: Scheduler, *hellos: WorkerHello, now: float = 0.0) -> None:
    """Let the workers connect."""
    for hello in hellos:
        scheduler.worker_joined(session(hello.name), hello, now=now)


def picks(scheduler: Scheduler, *, now: float = 0.0) -> list[Pick]:
    """Let the engine give away all that can be started now."""
    found: list[Pick] = []
    while (pick := scheduler.next_pick(now=now)) is not None:
        found.append(pick)
        scheduler.check_invariants()
    return found


def numbers(found: Iterable[Pick]) -> list[int]:
    """Return the numbers of the tasks, in the order they were given away."""
    return [int(task_id, 16) for pick in found for task_id in pick.task_ids]
