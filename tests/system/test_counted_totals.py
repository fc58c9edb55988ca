"""The broker's counters against an independent count by its client: over kills and a restart.

The client counts what it was told of each task, and shares no code with the ledger.
"""

import os
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.free_ports import free_ports
from tests.harness.trial_models import write_trial_distribution

from paintmq import Client, Task, TaskState
from paintmq.config import DEFAULT_QUEUE_CONFIGS
from paintmq.errors import TaskNotCompletedError
from paintmq_plugins import prometheus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TASKS = 84
PICTURE, MASK = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    client_port, *ports = free_ports(1 + len(DEFAULT_QUEUE_CONFIGS))
    variables = {"PAINTMQ_WORKERS__COUNT": "2", "PAINTMQ_BROKER__DURABILITY": "process"}
    for name, port in zip(DEFAULT_QUEUE_CONFIGS, ports, strict=True):
        variables[f"PAINTMQ_QUEUES__{name.upper().replace('-', '_')}__PORT"] = str(port)
    plugins = write_trial_distribution(tmp_path / "plugins")
    return private_environment(
        tmp_path, plugins=plugins, PAINTMQ_BROKER__PORT=str(client_port), **variables
    )


class Count:
    """What the client was told of its tasks."""

    def __init__(self) -> None:
        self.endings: Counter[tuple[str, str]] = Counter()
        """By what ("queue", "model" and "tenant" with a name), and state."""
        self.refused: Counter[str] = Counter()
        self.by_worker: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        """Attempts that ended without ending their task, by the same names."""
        self._lock = threading.Lock()

    def ended(self, task: Task, queue: str, state: TaskState, worker: str) -> None:
        with self._lock:
            for name in (f"queue {queue}", f"model {task.model}", f"tenant {task.tenant}", "all"):
                self.endings[name, state.value] += 1
            if state is TaskState.SUCCEEDED:
                self.by_worker[worker] += 1

    def took(self, task: Task, queue: str, state: TaskState, attempts: list[Any]) -> None:
        """Count the attempts of a task by its own history, which its journal record has."""
        outcomes = [each["outcome"] for each in attempts]
        ended_it = state in {TaskState.FAILED, TaskState.DEAD} or (
            outcomes[-1:] in (["cancelled"], ["succeeded"])
        )
        for name in (f"queue {queue}", f"model {task.model}", "all"):
            self.retries[name] += len(outcomes) - ended_it

    def was_refused(self, code: str) -> None:
        with self._lock:
            self.refused[code] += 1

    def accepted(self, name: str) -> int:
        return sum(count for (of, _), count in self.endings.items() if of == name)


def make_task(number: int) -> Task:
    what = ("paint", "paint", "paint", "raise", "raise-retryable", "cancel", "expire")[number % 7]
    what = "kill" if number == 6 else what  # each takes three model hosts with it
    tenant = f"tenant-{number % 5}"
    if what == "expire":  # no worker has what this model requires
        model = {"model": "trial-needy"}
        return Task("plugin", model, {"image": PICTURE}, tenant=tenant, deadline=0.5)
    return Task(
        "plugin",
        {
            "model": ("trial", "trial-other")[number % 2],
            "do": "heed" if what == "cancel" else what,
            "seconds": 30.0 if what == "cancel" else 0.0,
        },
        {"image": PICTURE, "mask": MASK},
        tenant=tenant,
        max_attempts=2,
    )


def bring_to_its_end(client: Client, number: int, count: Count) -> None:
    task = make_task(number)
    handle = client.submit(task, patient=True)
    if number % 7 == 5:
        for update in handle.updates(120):
            if update.state is not TaskState.SUBMITTED:
                break
        handle.cancel(timeout=120)
    try:
        result = handle.result(150)
    except TaskNotCompletedError as error:
        if error.state is None:
            raise  # it has no ending
        queue, state, worker = handle.progress().queue, error.state, ""
    else:
        queue, state, worker = result.queue, TaskState.SUCCEEDED, result.worker
    count.ended(task, queue, state, worker)
    told: Any = client.ask("dead_show", task_id=task.id, timeout=120)
    count.took(task, queue, state, told["history"])


def counted_by_broker(client: Client) -> Any:
    return client.ask("statistics", timeout=60)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def check_scrape(client: Client) -> None:
    """Have the official parser and tool look at the metrics of a broker under load."""
    parser = pytest.importorskip("prometheus_client.parser", reason="no prometheus_client")
    content, _ = prometheus.render(client.statistics())
    families = list(parser.text_string_to_metric_families(content.decode()))
    running = sum(s.value for f in families if f.name == "paintmq_tasks_running" for s in f.samples)
    assert running > 0, "it is not under load"
    if shutil.which("promtool") is not None:
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=content, capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert not checked.stderr.strip()


def kill_model_hosts(node: CommandProcess) -> None:
    for child in psutil.Process(node.process.pid).children(recursive=True):
        os.kill(child.pid, signal.SIGKILL)


def test_every_counter_is_what_the_client_counted(
    environment: dict[str, str], stack: ExitStack
) -> None:
    endpoint = f"tcp://127.0.0.1:{environment['PAINTMQ_BROKER__PORT']}"
    broker = stack.enter_context(CommandProcess(["broker"], environment))
    broker.wait_for_line("broker for clients at")
    node = stack.enter_context(
        CommandProcess(["node", "--connect", endpoint, "--name", "one"], environment)
    )
    node.wait_for_line("workers of this machine serve")
    count, client = Count(), stack.enter_context(Client(endpoint))
    half_done = threading.Event()
    done = Counter[str]()

    def bring(number: int) -> None:
        bring_to_its_end(client, number, count)
        done["tasks"] += 1
        if done["tasks"] >= TASKS // 3:
            half_done.set()

    with ThreadPoolExecutor(12) as pool:
        pending = [pool.submit(bring, number) for number in range(TASKS)]
        assert half_done.wait(120)
        check_scrape(client)
        broker.process.kill()
        broker.wait()
        kill_model_hosts(node)
        stack.enter_context(CommandProcess(["broker"], environment)).wait_for_line(
            "broker for clients at"
        )
        for each in pending:
            each.result(150)
    for number in range(7):
        wrong = {"model": "trial" if number % 2 else "nobody-has-it", "nonsense": 1}
        with pytest.raises(TaskNotCompletedError) as refused:
            client.submit(Task("plugin", wrong)).result(60)
        count.was_refused(refused.value.code)

    told = counted_by_broker(client)

    groups = {f"queue {name}": each for name, each in told["queues"].items()}
    groups |= {f"model {name}": each for name, each in told["models"].items()}
    states = ("succeeded", "failed", "cancelled", "expired", "dead")
    expected = {(name, state): count.endings[name, state] for name in groups for state in states}
    assert {(name, state): groups[name][state] for name, state in expected} == expected
    assert {name: each["accepted"] for name, each in groups.items()} == {
        name: count.accepted(name) for name in groups
    }
    assert {name: each["retries"] for name, each in groups.items()} == {
        name: count.retries[name] for name in groups
    }
    assert told["retries"] == count.retries["all"] > 0
    assert count.endings["all", "expired"] == TASKS // 7 - 1
    for name, tenant in told["tenants"].items():
        succeeded = count.endings[f"tenant {name}", "succeeded"]
        assert tenant["accepted"] == count.accepted(f"tenant {name}")
        assert tenant["succeeded"] == succeeded
        assert tenant["failed"] == tenant["accepted"] - succeeded
    assert {n: w["succeeded"] for n, w in told["by_worker"].items() if w["succeeded"]} == dict(
        count.by_worker
    )
    assert told["accepted"] == count.accepted("all") == TASKS
    assert told["rejected_by"] == dict(count.refused)
    assert told["crashes"] > 0
    assert sum(each["waiting"] + each["running"] for each in told["queues"].values()) == 0
