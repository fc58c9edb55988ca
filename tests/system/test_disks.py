"""A service whose disk runs full, fails or is full already: what OPERATING.md promises of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.small_disk import SmallDisk, small_ext4, small_tmpfs
from tests.harness.trial_models import write_trial_distribution

from paintmq import Client, Task, TaskState, TaskType
from paintmq.errors import RejectedError, TaskRejectedError

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    plugins = write_trial_distribution(tmp_path / "plugins")
    return private_environment(
        tmp_path, plugins=plugins, PAINTMQ_BROKER__PORT="0", PAINTMQ_LOG="info"
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_tmpfs(tmp_path / "disk", size=64 * 1024 * 1024) as disk:
        yield disk


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_ext4(tmp_path / "device", size=64 * 1024 * 1024) as device:
        yield device


def trial(do: str = "paint", seconds: float = 0.0) -> Task:
    return Task(
        task_type=TaskType.INPAINT,
        config={"model": "trial", "do": do, "seconds": seconds},
        inputs={"image": np.zeros((8, 8, 3), np.uint8), "mask": np.full((8, 8), 255, np.uint8)},
    )


def endpoint_of(service: CommandProcess) -> str:
    return service.wait_for_line(r"broker for clients at (\S+)")[1]


def test_a_full_disk_refuses_new_tasks_records_what_runs_and_goes_on_when_there_is_room(
    environment: dict[str, str], disk: SmallDisk
) -> None:
    journal = {"PAINTMQ_BROKER__JOURNAL": str(disk.path / "journal")}
    with CommandProcess(["up"], environment | journal) as up:
        with Client(endpoint_of(up)) as client:
            running = client.submit(trial("ignore", 4.0))
            for progress in running.updates(timeout=40):
                if progress.state is TaskState.RUNNING:
                    break
            filler = disk.fill()
            up.wait_for_line("is full: new tasks are refused")

            assert running.result(timeout=40).attempts == 1
            with pytest.raises((RejectedError, TaskRejectedError), match="disk is full"):
                client.submit(trial()).result(timeout=40)

            filler.unlink()
            up.wait_for_line("has room again")
            assert client.submit(trial(), patient=True).result(timeout=40).attempts == 1
        up.process.terminate()
        assert up.wait() == 0


def test_a_disk_that_fails_ends_the_service_with_a_status_that_has_it_started_again(
    environment: dict[str, str], device: SmallDisk
) -> None:
    journal = {"PAINTMQ_BROKER__JOURNAL": str(device.path / "journal")}
    command = CommandProcess(["broker"], environment | journal)
    with command as broker, Client(endpoint_of(broker)) as client:
        client.submit(trial()).accepted(timeout=40)
        device.fail()
        client.submit(trial())

        broker.wait_for_line("the journal .* cannot be written: .* error")
        assert broker.wait() == 1


def test_a_broker_that_cannot_begin_on_a_full_disk_says_so_in_a_line(
    environment: dict[str, str], disk: SmallDisk
) -> None:
    disk.fill()
    journal = {"PAINTMQ_BROKER__JOURNAL": str(disk.path / "journal")}
    with CommandProcess(["broker"], environment | journal) as broker:
        assert broker.wait() == 2
    (line,) = broker.said
    assert "is full" in line
    assert "make room there (df -h, df -i), then start again" in line
