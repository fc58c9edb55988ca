"""A broker that is killed, and comes back on the same journal and ports: handles resolve."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from paintmq import Client, Config, Task, TaskState, TaskType
from paintmq.client.task_handle import TaskHandle
from paintmq.config import BrokerConfig, QueueConfig
from paintmq.node.supervisor import NodeSupervisor
from paintmq.plugin.manager import PluginManager

BROKER = """
import json, sys
from paintmq.broker.shell.server import BrokerServer
from paintmq.config import BrokerConfig, Config, QueueConfig
from paintmq.plugin.manager import PluginManager

journal, port, queue_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
config = Config(
    broker=BrokerConfig(port=port, durability="process", journal=journal),
    queues={"cpu-light": QueueConfig(port=queue_port)},
)
server = BrokerServer(config, PluginManager.installed())
server.run(lambda: print(json.dumps([server.client_endpoint, server.queue_endpoints]), flush=True))
"""


class BrokerProcess:
    """A broker in a process of its own, that can be killed and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.ports = ("0", "0")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        arguments = [sys.executable, "-c", BROKER, str(self.journal), *self.ports]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.endpoint, self.queues = json.loads(self.process.stdout.readline())
        endpoints = (self.endpoint, self.queues["cpu-light"])
        self.ports = tuple(endpoint.rpartition(":")[2] for endpoint in endpoints)

    def kill(self) -> None:
        if self.process is not None:
            assert self.process.stdout is not None
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    process = BrokerProcess(tmp_path)
    yield process
    process.kill()


@pytest.fixture
def start_node(broker: BrokerProcess) -> Iterator[Any]:
    nodes: list[NodeSupervisor] = []

    def start() -> None:
        config = Config(broker=BrokerConfig(port=0), queues={"cpu-light": QueueConfig()})
        node = NodeSupervisor(
            evolve(config, workers=evolve(config.workers, count=1)),
            PluginManager.installed(),
            queue_endpoints=broker.queues,
        )
        node.start()
        nodes.append(node)

    yield start
    for node in nodes:
        node.stop(grace=0.0)


def make_task(number: int) -> Task:
    image = np.full((16, 16, 3), number, np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:8, 4:8] = 255
    return Task(TaskType.INPAINT, {"model": "opencv"}, {"image": image, "mask": mask})


def colour(handle: TaskHandle) -> int:
    return int(handle.result(90).image[5, 5, 0])


def wait_until_queued(handle: TaskHandle) -> None:
    for update in handle.updates(30):
        if update.state is TaskState.QUEUED:
            return


@pytest.mark.slow
def test_handles_resolve_after_the_broker_was_killed_and_started_again(
    broker: BrokerProcess, start_node: Any
) -> None:
    with Client(broker.endpoint) as client:
        handles = [client.submit(make_task(number)) for number in range(5)]
        for handle in handles:
            wait_until_queued(handle)
        broker.kill()
        handles.append(client.submit(make_task(5)))
        broker.start()
        start_node()

        assert [colour(handle) for handle in handles] == [0, 1, 2, 3, 4, 5]
        assert client.alarms == 0


@pytest.mark.slow
def test_a_result_is_fetched_after_client_and_broker_were_restarted(
    broker: BrokerProcess, start_node: Any
) -> None:
    task = make_task(7)
    with Client(broker.endpoint) as client:
        wait_until_queued(client.submit(task))
    broker.kill()
    broker.start()
    start_node()

    with Client(broker.endpoint) as client:
        assert colour(client.fetch(task.id)) == 7


@pytest.mark.slow
def test_a_broker_that_lost_its_journal_gets_the_tasks_again(
    broker: BrokerProcess, start_node: Any
) -> None:
    with Client(broker.endpoint) as client:
        handle = client.submit(make_task(9))
        wait_until_queued(handle)
        broker.kill()
        broker.journal = broker.journal.with_name("another")
        broker.start()
        start_node()

        assert colour(handle) == 9
        assert client.alarms >= 1
