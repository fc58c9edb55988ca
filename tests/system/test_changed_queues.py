"""Queues changed under load by the command, with a broker that is killed in between."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.free_ports import free_ports
from tests.harness.trial_models import write_trial_distribution

from paintmq import Client, Task, TaskType
from paintmq.config import DEFAULT_QUEUE_CONFIGS

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of a broker with the same ports each time."""
    clients, *ports = free_ports(1 + len(DEFAULT_QUEUE_CONFIGS))
    variables = {
        f"PAINTMQ_QUEUES__{name.upper().replace('-', '_')}__PORT": str(port)
        for name, port in zip(DEFAULT_QUEUE_CONFIGS, ports, strict=True)
    }
    plugins = write_trial_distribution(tmp_path / "plugins")
    return private_environment(
        tmp_path, plugins=plugins, PAINTMQ_BROKER__PORT=str(clients), **variables
    )


def trial() -> Task:
    pixels, mask = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)
    return Task(TaskType.INPAINT, {"model": "trial"}, inputs={"image": pixels, "mask": mask})


def test_no_task_is_lost_while_queues_come_and_go_and_the_broker_is_killed(
    environment: dict[str, str],
) -> None:
    endpoint = f"tcp://127.0.0.1:{environment['PAINTMQ_BROKER__PORT']}"
    home = ""
    queues: set[str] = set()
    stop = threading.Event()

    def submit_and_wait() -> None:
        with Client(endpoint) as client:
            handles = []
            while not stop.wait(0.02):
                handles.append(client.submit(trial(), patient=True))
            for handle in handles:
                result = handle.result(timeout=90)
                queues.add(result.queue)

    def queues_command(*arguments: str) -> str:
        done = run_command("queues", *arguments, environment=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with CommandProcess(["node", "--connect", endpoint], environment) as node:
        with CommandProcess(["broker"], environment) as broker:
            broker.wait_for_line("broker for clients at")
            node.wait_for_line("workers of this machine serve")
            load = threading.Thread(target=submit_and_wait)
            load.start()
            try:
                assert queues_command("add", "extra", "capacity=5000").startswith("queues.extra")
                shown = run_command("status", environment=environment).stdout
                home = re.findall(r"/cpu-0 +(\S+)", shown)[0]
                queues_command("set", home, "capacity=4000")
                queues_command("remove", home)
            finally:
                broker.process.kill()
                broker.wait()
                stop.set()
        with CommandProcess(["broker"], environment) as broker:
            broker.wait_for_line("broker for clients at")
            load.join(120)
            assert not load.is_alive()
            listed = queues_command("list")

    assert "extra" in listed
    assert home not in listed
    assert queues
