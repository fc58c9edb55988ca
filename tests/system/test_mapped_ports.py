"""A broker behind something that maps its ports, and nodes on the other side of it."""

from pathlib import Path

import numpy as np
import pytest
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.free_ports import free_ports
from tests.harness.tcp_relay import TcpRelay
from tests.harness.trial_models import write_trial_distribution

from paintmq import Client, Task, TaskType

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    plugins = write_trial_distribution(tmp_path / "plugins")
    return private_environment(tmp_path, plugins=plugins, PAINTMQ_LOG="info")


def settings(folder: Path, port: int, inside: int, advertised: int) -> Path:
    """Write the settings of a broker with one queue, which nodes know by another port."""
    names = ("gpu-high", "gpu-medium", "gpu-low", "cpu-intensive", "cpu-light", "serverless")
    dropped = "".join(f"{name} = false\n" for name in names)
    file = folder / "broker.toml"
    file.write_text(
        f"[broker]\nport = {port}\n[queues]\n{dropped}"
        f"[queues.only]\nport = {inside}\nadvertise_port = {advertised}\n"
    )
    return file


def trial() -> Task:
    pixels = np.zeros((8, 8, 3), np.uint8)
    mask = np.full((8, 8), 255, np.uint8)
    return Task(TaskType.INPAINT, {"model": "trial"}, inputs={"image": pixels, "mask": mask})


def without_queues(environment: dict[str, str]) -> dict[str, str]:
    """Return the same environment without ports of queues: these settings have others."""
    return {name: value for name, value in environment.items() if "QUEUES" not in name} | {
        "PAINTMQ_BROKER__PORT": "1"
    }


def broker_environment(environment: dict[str, str]) -> dict[str, str]:
    kept = without_queues(environment)
    del kept["PAINTMQ_BROKER__PORT"]
    return kept


def test_a_node_beyond_a_map_of_ports_works_for_queues_that_its_own_settings_do_not_name(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    clients, inside = free_ports(2)
    with TcpRelay(clients) as to_clients, TcpRelay(inside) as to_queue:
        file = settings(tmp_path, clients, inside, to_queue.port)
        endpoint = f"tcp://127.0.0.1:{to_clients.port}"
        with (
            CommandProcess(["broker", "-c", file], broker_environment(environment)) as broker,
            CommandProcess(["node", "--connect", endpoint], without_queues(environment)) as node,
        ):
            broker.wait_for_line("broker for clients at")
            node.wait_for_line("workers of this machine serve")
            with Client(endpoint) as client:
                assert client.submit(trial()).result(timeout=60).queue == "only"

        assert to_queue.passed == 1


def test_a_node_says_which_address_of_a_queue_it_cannot_reach_and_goes_there_when_it_is_right(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    clients, inside, nobody = free_ports(3)
    endpoint = f"tcp://127.0.0.1:{clients}"
    file = settings(tmp_path, clients, inside, nobody)
    with CommandProcess(["node", "--connect", endpoint], without_queues(environment)) as node:
        with CommandProcess(["broker", "-c", file], broker_environment(environment)):
            node.wait_for_line(
                rf"queue only is at tcp://127.0.0.1:{nobody}, which cannot be reached: "
                r"Connection refused.*set broker.advertise and queues.only.advertise_port"
            )
        settings(tmp_path, clients, inside, 0)
        with (
            CommandProcess(["broker", "-c", file], broker_environment(environment)) as broker,
            Client(endpoint) as client,
        ):
            broker.wait_for_line("broker for clients at")
            assert client.submit(trial()).result(timeout=60).queue == "only"


def test_a_name_that_is_nobodys_is_said_to_be_so(environment: dict[str, str]) -> None:
    asked = run_command(
        "status", "--connect", "tcp://no-such-machine.invalid:5550", environment=environment
    )

    assert asked.returncode == 2
    assert "no machine is known by the name no-such-machine.invalid" in asked.stderr
