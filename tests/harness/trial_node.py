"""A node of one worker with trial models, for a scripted broker, and a look at its processes."""

import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from paintmq.config import Config, PluginsConfig, QueueConfig, WorkersConfig
from paintmq.node.capabilities import Capabilities
from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager
from paintmq.worker.agent.known_broker import KnownBroker
from paintmq.worker.machine.profile import WorkerTimers
from tests.harness.scripted_broker import Job, ScriptedBroker

QUEUES = {"cpu": QueueConfig()}
PLUGINS = PluginsConfig(allow=("trial",))
ONE_CORE = Capabilities(cores=1, memory_mb=4096)


def make_trial_node(
    broker: ScriptedBroker,
    *,
    worker_timers: WorkerTimers | None = None,
    known: KnownBroker | None = None,
    **workers: object,
) -> NodeSupervisor:
    """Return a node that is not started yet; ``workers`` are settings of that section."""
    config = Config(
        queues=QUEUES,
        plugins=PLUGINS,
        workers=WorkersConfig(**{"count": 1, **workers}),  # type: ignore[arg-type]  # a test's
    )
    return NodeSupervisor(
        config,
        PluginManager.installed(PLUGINS),
        queue_endpoints={"cpu": broker.endpoint},
        context=broker.context,
        name="testnode",
        capabilities=ONE_CORE,
        worker_timers=worker_timers,
        known=known,
    )


def child_processes() -> set[int]:
    """Return the processes that this one and its children have started."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def model_host() -> int:
    """Return the one child process there is."""
    (pid,) = child_processes()
    return pid


def is_alive(pid: int) -> bool:
    """Return whether a process runs that has not ended, seen or unseen."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until_handed_over(job: Job, folder: Path) -> None:
    """Wait until the worker has noted in its crash journal that its host has the task."""
    until = time.monotonic() + 30.0
    (journal,) = (folder / "paintmq").glob("*.running")
    while job.key[0] not in journal.read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
