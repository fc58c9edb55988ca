"""What models print and log can be read with the task it is of: through node, broker and client."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.harness.trial_models import write_trial_distribution

from paintmq import Client, QueueManager, Task
from paintmq.cli.app import run_command_line
from paintmq.cli.run_log import RunLog
from paintmq.config import PluginsConfig
from paintmq.plugin.manager import PluginManager
from paintmq.testing.embedded_manager import embedded_manager

PLUGINS = PluginsConfig(allow=("trial", "model-affinity"))
PICTURE = np.zeros((8, 8, 3), np.uint8)
SAID = {
    "printed",
    "to stderr",
    "WARNING paintmq.models.trial: logged",
    "put by C",
    "written to the descriptor",
    "without an end of line",
}


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QueueManager]:
    monkeypatch.syspath_prepend(str(write_trial_distribution(tmp_path / "site")))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    plugins = PluginManager.installed(PLUGINS)
    with embedded_manager(workers=1, plugins=plugins) as manager:
        yield manager


def make_task(do: str) -> Task:
    mask = np.full((8, 8), 255, np.uint8)
    inputs: Any = {"image": PICTURE, "mask": mask}
    return Task("plugin", {"model": "trial", "do": do, "seconds": 0.0}, inputs)


def heard(client: Client | QueueManager, *, task: str) -> list[dict[str, Any]]:
    """Return the lines once all is there: workers collect them for a moment, a warning is two."""
    until = time.monotonic() + 30
    while True:
        lines = list(client.logs(follow=False, task=task))
        texts = {line["text"] for line in lines}
        if texts >= SAID and any("warnings.warn(" in text for text in texts):
            return lines
        assert time.monotonic() < until, lines
        threading.Event().wait(0.05)


def test_every_way_of_saying_something_is_heard_with_its_task(
    manager: QueueManager, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "paintmq.worker"):
        speaking, silent = manager.submit(make_task("speak")), manager.submit(make_task("paint"))
        speaking.result(30)
        silent.result(30)
    with Client(manager.endpoint) as client:
        lines = heard(client, task=speaking.id)

        assert {line["text"] for line in lines} >= SAID
        assert any("UserWarning: warned" in line["text"] for line in lines)
        assert {line["level"] for line in lines} == {"", "warning"}
        (worker,) = {line["worker"] for line in lines}
        assert len(list(client.logs(worker=worker, follow=False))) >= len(lines)
        assert list(client.logs(worker="another", follow=False)) == []
    in_log = [each for each in caplog.records if each.name == "paintmq.worker"]
    logged = next(each for each in in_log if each.getMessage().endswith("trial: logged"))
    assert logged.levelno == logging.WARNING
    assert speaking.id in (logged.__dict__["task_id"], *logged.__dict__.get("task_ids", ()))
    statistics = manager.statistics()
    assert statistics.log_lines >= len(lines)
    assert statistics.shell.log_lines_dropped == 0
    capsys.readouterr()
    arguments = ["logs", "--connect", manager.endpoint, "--task", speaking.id]
    assert run_command_line([*arguments, "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown == lines
    assert run_command_line(arguments) == 0
    assert "put by C" in capsys.readouterr().out


def test_a_run_shows_what_its_own_tasks_say(manager: QueueManager) -> None:
    other = manager.submit(make_task("speak"))
    other.result(30)
    heard(manager, task=other.id)
    told: list[str] = []
    log = RunLog(manager.ask, told.append)
    log.begin()
    own = make_task("speak")
    log.submitted(own.id)

    manager.submit(own).result(30)
    log.end()

    assert len([line for line in told if line.endswith("  printed")]) == 1
    assert all(own.id in line for line in told)


def test_the_load_of_a_node_is_told_to_its_broker(manager: QueueManager) -> None:
    until = time.monotonic() + 30
    while not any(node.system for node in manager.statistics().nodes.values()):
        assert time.monotonic() < until
        threading.Event().wait(0.05)

    (node,) = manager.statistics().nodes.values()
    assert node.workers == 1
    assert node.system is not None
    assert 0 < node.system.memory_used_mb < node.system.memory_total_mb
    assert 0 < node.system.memory_limit_mb <= node.system.memory_total_mb
    assert node.system.cores >= 1
