"""A broker that is killed and is back before its workers notice: with the timers people have."""

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.free_ports import free_ports
from tests.harness.trial_models import write_trial_distribution

from paintmq import Client, Task, TaskState, TaskType
from paintmq.config import DEFAULT_QUEUE_CONFIGS

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path, transport: str) -> dict[str, str]:
    """Settings of a broker that has the same ports each time; every timer is the default."""
    variables = {"PAINTMQ_LOG": "info"}
    client_port, *ports = free_ports(1 + len(DEFAULT_QUEUE_CONFIGS))
    for name, port in zip(DEFAULT_QUEUE_CONFIGS, ports, strict=True):
        queue = f"PAINTMQ_QUEUES__{name.upper().replace('-', '_')}"
        variables |= {f"{queue}__PORT": str(port), f"{queue}__TRANSPORT": transport}
    plugins = write_trial_distribution(tmp_path / "plugins")
    return private_environment(
        tmp_path, plugins=plugins, PAINTMQ_BROKER__PORT=str(client_port), **variables
    )


def trial(do: str, seconds: float) -> Task:
    return Task(
        task_type=TaskType.INPAINT,
        config={"model": "trial", "do": do, "seconds": seconds},
        inputs={"image": np.zeros((8, 8, 3), np.uint8), "mask": np.full((8, 8), 255, np.uint8)},
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("away", [0.5, 4.0])
@pytest.mark.parametrize("transport", ["router", "pushpull"])
def test_a_worker_goes_on_with_a_broker_that_was_killed_and_is_back_at_once(
    environment: dict[str, str], away: float
) -> None:
    """Work that ran is answered for, and new work is given out, on pipes of the new broker."""
    endpoint = f"tcp://127.0.0.1:{environment['PAINTMQ_BROKER__PORT']}"
    with ExitStack() as stack:
        broker = stack.enter_context(CommandProcess(["broker"], environment))
        broker.wait_for_line("broker for clients at")
        node = CommandProcess(["node", "--connect", endpoint, "--name", "one"], environment)
        stack.enter_context(node).wait_for_line("workers of this machine serve")
        client = stack.enter_context(Client(endpoint))
        running = client.submit(trial("ignore", 12.0))
        for progress in running.updates(timeout=40):
            if progress.state is TaskState.RUNNING:
                break

        broker.process.kill()
        broker.wait()
        time.sleep(away)  # what is tested: how long it is away
        stack.enter_context(CommandProcess(["broker"], environment))

        assert running.result(timeout=40).attempts == 1
        assert client.submit(trial("paint", 0.0)).result(timeout=20).attempts == 1
