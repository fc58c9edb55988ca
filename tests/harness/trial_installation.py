"""A broker and nodes with trial models, in this process or as processes: for tests of the whole."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
from attrs import define, evolve, field

from paintmq.broker.shell.server import BrokerServer
from paintmq.client.client import Client
from paintmq.client.task import Task
from paintmq.client.task_handle import TaskHandle
from paintmq.config import (
    BrokerConfig,
    Config,
    PluginsConfig,
    QueueConfig,
    Timers,
    WorkersConfig,
)
from paintmq.node.capabilities import Capabilities
from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager
from paintmq.task import TaskState
from paintmq.worker.machine.profile import WorkerTimers
from tests.harness.command_process import CommandProcess, private_environment

PLUGINS = PluginsConfig(allow=("trial", "model-affinity"))
TIMERS = Timers(heartbeat=0.5, drain_grace=1.0, retry_first=0.05, retry_most=0.2)
QUEUE = "cpu-light"
AMPLE = 50.0
"""Seconds; nothing waits that long unless it is broken."""


@define
class TrialInstallation:
    """A broker, and as many nodes and clients as a test starts. Distribution: the caller's task."""

    folder: Path
    broker: BrokerServer
    client: Client
    _config: Config
    _stack: ExitStack = field(repr=False)

    def start_node(self, name: str, *, worker_timers: WorkerTimers | None = None) -> NodeSupervisor:
        """Start a node of one worker in this process."""
        node = NodeSupervisor(
            self._config,
            PluginManager.installed(PLUGINS),
            queue_endpoints=self.broker.queue_endpoints,
            name=name,
            capabilities=Capabilities(cores=1, memory_mb=4096),
            worker_timers=worker_timers,
        )
        node.start()
        self._stack.callback(node.stop, grace=0.0)
        return node

    def start_node_process(self, name: str, **variables: str) -> CommandProcess:
        """Start ``paintmq node`` with one worker, and return once it serves the broker.

        ``variables`` are set in its environment.
        """
        environment = private_environment(
            self.folder,
            plugins=self.folder / "plugins",
            PAINTMQ_WORKERS__COUNT="1",
            PAINTMQ_TIMERS__DRAIN_GRACE="1",
            **variables,
        )
        arguments = ["node", "--connect", self.broker.client_endpoint, "--name", name]
        node = self._stack.enter_context(CommandProcess(arguments, environment))
        node.wait_for_line("workers of this machine serve")
        return node

    def new_client(self) -> Client:
        return self._stack.enter_context(Client(self.broker.client_endpoint))

    def statistics(self) -> Any:
        return self.client.ask("statistics")

    def dead_letter(self, handle: TaskHandle) -> Any:
        """Return what ``paintmq dead show`` is told of a task, dead or not."""
        return self.client.ask("dead_show", task_id=handle.id)


@contextmanager
def trial_installation(
    folder: Path, transport: Literal["router", "pushpull"], **timers: float
) -> Iterator[TrialInstallation]:
    """Give a broker whose one queue uses that transport, and a client of it.

    ``folder / "plugins"`` must hold the trial distribution, and be on ``sys.path``.
    """
    config = Config(
        broker=BrokerConfig(port=0),
        queues={QUEUE: QueueConfig(transport=transport)},
        workers=WorkersConfig(count=1),
        timers=evolve(TIMERS, **timers),
        plugins=PLUGINS,
    )
    with ExitStack() as stack:
        broker = BrokerServer(config, PluginManager.installed(PLUGINS))
        broker.start()
        stack.callback(broker.stop, grace=0.0)
        client = stack.enter_context(Client(broker.client_endpoint))
        yield TrialInstallation(folder, broker, client, config, stack)


def trial_task(do: str = "paint", *, model: str = "trial", **more: Any) -> Task:
    """Return a task for a trial model; ``more`` is its options and what a Task takes."""
    options = {"seconds": 60.0, "note": ""}
    config = {"model": model, "do": do} | {k: more.pop(k, v) for k, v in options.items()}
    image, mask = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)
    return Task("inpaint", config, {"image": image, "mask": mask}, **more)


def wait_until(handle: TaskHandle, *states: TaskState) -> None:
    """Wait until the task is in one of these states."""
    for progress in handle.updates(timeout=AMPLE):
        if progress.state in states:
            return
    raise AssertionError(f"{handle} was never {' or '.join(states)}")


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + AMPLE
    while not condition():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.02)


def model_hosts(parent: int | None = None) -> list[int]:
    """Return the model hosts among a process's children; by default, of this one."""
    children = psutil.Process(parent or os.getpid()).children()
    return [child.pid for child in children if "paintmq.worker.host" in child.cmdline()]
