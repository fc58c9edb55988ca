"""What embedded managers of tests are given: models that never run, routers, tasks."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq import Task, TaskState, TaskType
from paintmq.config import QueueConfig
from paintmq.model import InputSpec, Job, ModelSpec, Needs
from paintmq.routing import QueueView
from paintmq.testing.plain_router import PlainRouter

SOME_QUEUES = {"first": QueueConfig(), "second": QueueConfig()}


def needs_gpu(job: Job) -> Needs:
    return Needs(gpu_memory_mb=6_000 if job.device == "cuda" else 0)


class Models:
    """A plugin whose models are never run in these tests."""

    def paintmq_register_models(self, register: Any) -> None:
        inputs = (InputSpec(name="image"),)
        register(
            ModelSpec(
                name="lama",
                implementation="nowhere:Lama",
                devices=("cuda", "cpu"),
                needs=needs_gpu,
                effort="intensive",
                inputs=inputs,
            )
        )
        register(ModelSpec(name="small", implementation="nowhere:Small", inputs=inputs))
        register(
            ModelSpec(
                name="giant",
                implementation="nowhere:Giant",
                devices=("cuda",),
                needs=lambda job: Needs(gpu_memory_mb=1_000_000),
            )
        )


class ByExpectedWork(PlainRouter):
    """Counts what waits even where no worker is connected."""

    def choose_queue(self, queues: Sequence[QueueView], *, now: float) -> str:
        return min(queues, key=lambda queue: queue.expected_work).name


class Routers:
    """A plugin with the router of the default configuration's name."""

    def paintmq_register_routers(self, register: Any) -> None:
        register("model-affinity", lambda parameters: ByExpectedWork())


def make_task(model: str = "small", **changes: Any) -> Task:
    config = {"model": model, **changes.pop("config", {})}
    return Task(task_type=TaskType.INPAINT, config=config, **changes)


def left_behind() -> tuple[set[str], set[int], list[str]]:
    """Return the threads, child processes and open files of this process."""
    process = psutil.Process()
    files = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    return (
        {thread.name for thread in threading.enumerate()},
        {child.pid for child in process.children(recursive=True)},
        sorted(file.partition(":")[0] for file in files),
    )


def wait_for_acceptance(handle: Any) -> None:
    for update in handle.updates(30):
        if update.state is not TaskState.SUBMITTED:
            return
