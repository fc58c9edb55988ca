"""What a program that started a command learns from its exit status."""

import pytest

from paintmq.cli.failures import CommandError, NoBrokerError, ServiceFailedError, exit_status
from paintmq.errors import ConfigError, PaintMQError, TaskDeadError
from paintmq.task import TaskId, TaskState


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ServiceFailedError("the node has failed: disk"), 1),
        (CommandError("no such file"), 2),
        (NoBrokerError("no broker answers"), 2),
        (ConfigError("broker.prot: unknown key"), 2),
        (TaskDeadError(TaskId("0" * 32), TaskState.DEAD, "worker_crashed", "gave up"), 1),
    ],
)
def test_a_service_that_failed_is_told_from_a_command_that_cannot_work(
    error: PaintMQError, status: int
) -> None:
    """An init system starts the first again, and must not do so with the second."""
    assert exit_status(error) == status
