"""Another router takes over a working broker: no task is lost, and a wrong file changes nothing."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.harness.command_process import CommandProcess, private_environment, run_command
from tests.harness.trial_models import write_trial_distribution
from tests.harness.written_distribution import write_distribution

from paintmq import Client, Task, TaskState, TaskType
from paintmq.client import TaskHandle

pytestmark = pytest.mark.slow

ROUTER = """
from attrs import field, frozen, validators

from paintmq.routing import Router


@frozen
class Parameters:
    first: str = field(
        default="trial", validator=validators.in_(("trial", "trial-other")), metadata={"help": "it"}
    )


class OneFirst(Router):
    def __init__(self, parameters):
        self.first = parameters.first

    def score(self, backlog, worker, board, *, now):
        return float(backlog.model == self.first)


def paintmq_register_routers(register):
    register("one-first", OneFirst, Parameters)
"""


def settings(first: str, *, count: int = 1) -> str:
    """Return settings with which nothing is sent ahead, as an earlier router would choose it."""
    return (
        f"[workers]\ncount = {count}\nprefetch = 0\n"
        f'[router]\nname = "one-first"\nparameters = {{ first = "{first}" }}\n'
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "paintmq.toml"
    file.write_text(settings("trial"))
    return file


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    plugins = write_trial_distribution(tmp_path / "plugins")
    write_distribution(
        plugins,
        "paintmq-one-first",
        entry_points={"one-first": "one_first_of_test"},
        files={"one_first_of_test.py": ROUTER},
    )
    return private_environment(
        tmp_path, plugins=plugins, PAINTMQ_BROKER__PORT="0", PAINTMQ_LOG="info"
    )


@pytest.fixture
def up(file: Path, environment: dict[str, str]) -> Iterator[CommandProcess]:
    with CommandProcess(["up", "--config", file], environment) as service:
        yield service


def trial(model: str, seconds: float = 0.4) -> Task:
    return Task(
        task_type=TaskType.INPAINT,
        config={"model": model, "do": "heed", "seconds": seconds},
        inputs={"image": np.zeros((8, 8, 3), np.uint8), "mask": np.full((8, 8), 255, np.uint8)},
    )


def wait_until_running(handle: TaskHandle) -> None:
    for progress in handle.updates(timeout=40):
        if progress.state is TaskState.RUNNING:
            return
    raise AssertionError(f"{handle} never ran")


def which_came_first(client: Client, meanwhile: Callable[[], None]) -> str:
    """Let tasks of both models wait for the one worker; return the model whose tasks ran first."""
    running = client.submit(trial("trial", 60.0))
    wait_until_running(running)
    models = ("trial", "trial-other") * 4
    handles = [client.submit(trial(model)) for model in models]
    meanwhile()
    running.cancel()
    results = [handle.result(timeout=50) for handle in handles]

    assert [result.attempts for result in results] == [1] * 8, "each ran once"
    return min(zip(results, models, strict=True), key=lambda pair: pair[0].waited)[1]


def test_a_router_takes_over_with_tasks_in_flight_and_a_wrong_file_changes_nothing(
    up: CommandProcess, file: Path, environment: dict[str, str]
) -> None:
    endpoint = up.wait_for_line(r"broker for clients at (\S+)")[1]

    def by_signal() -> None:
        file.write_text(settings("trial-other"))
        up.process.send_signal(signal.SIGHUP)
        up.wait_for_line("settings read again: router one-first")

    def wrong() -> None:
        file.write_text(settings("trail"))
        up.process.send_signal(signal.SIGHUP)
        up.wait_for_line("one-first: option 'first' is 'trail', but must be one of trial, trial-")
        up.wait_for_line("the settings stay as they were")
        file.write_text("[router\n")
        answer = run_command("reload", "--connect", endpoint, environment=environment)
        assert answer.returncode != 0
        assert "paintmq.toml" in answer.stderr

    def by_command() -> None:
        file.write_text("")
        answer = run_command("reload", "--connect", endpoint, environment=environment)
        assert answer.stdout.startswith("settings read again: router model-affinity\n")
        assert 'router.name: "one-first" -> "model-affinity", at once' in answer.stdout
        file.write_text(settings("trial"))
        run_command("reload", "--connect", endpoint, environment=environment)

    with Client(endpoint) as client:
        assert which_came_first(client, by_signal) == "trial-other"
        assert which_came_first(client, wrong) == "trial-other", "the old one still decides"
        assert which_came_first(client, by_command) == "trial"
    up.process.send_signal(signal.SIGINT)
    assert up.wait() == 0
