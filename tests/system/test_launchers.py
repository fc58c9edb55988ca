"""Nodes that a launcher starts: a stranger's, and our own as if over ssh; real processes."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from attrs import evolve
from tests.harness.command_process import CommandProcess, private_environment
from tests.harness.trial_models import write_trial_distribution
from tests.harness.written_distribution import python_path, write_distribution

from paintmq import Client, QueueManager, Task, TaskType
from paintmq.config import NodeConfig, PluginsConfig, WorkersConfig
from paintmq.testing.embedded_manager import config_on_free_ports

pytestmark = pytest.mark.slow

# It runs the node's command behind another one, as a batch system would, and keeps a diary.
LAUNCHER = """
from attrs import frozen
from paintmq.launching import Launcher, ProcessNode

@frozen
class Options:
    diary: str

class DiaryLauncher(Launcher):
    def __init__(self, options):
        self._diary = options.diary

    def launch(self, order):
        script = 'echo "$1" >> "$0"; shift; exec "$@"'
        command = ["sh", "-c", script, self._diary, order.name, *order.command]
        node = ProcessNode.start(order, command)
        with open(self._diary + ".ids", "a") as ids:
            print(node.process_id, file=ids)
        return node

def paintmq_register_launchers(register):
    register("diary", DiaryLauncher, Options)
"""


ONE = WorkersConfig(count=1)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the launcher and the trial models, for this process and those it starts."""
    folder = write_trial_distribution(tmp_path / "plugins")
    write_distribution(
        folder,
        "paintmq-diary",
        entry_points={"diary": "paintmq_diary_of_test"},
        files={"paintmq_diary_of_test.py": LAUNCHER},
    )
    monkeypatch.syspath_prepend(folder)
    # Nodes in processes of their own find what PYTHONPATH names.
    monkeypatch.setenv("PYTHONPATH", python_path(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield folder
    sys.modules.pop("paintmq_diary_of_test", None)


def trial(seconds: float = 0.0, do: str = "paint") -> Task:
    return Task(
        task_type=TaskType.INPAINT,
        config={"model": "trial", "do": do, "seconds": seconds},
        inputs={"image": np.zeros((8, 8, 3), np.uint8), "mask": np.full((8, 8), 255, np.uint8)},
    )


def test_a_strangers_launcher_starts_the_workers_and_replaces_a_killed_node(
    plugins: Path, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    node = NodeConfig(launcher="diary", count=2, options={"diary": str(diary)})
    settings = PluginsConfig(allow=("trial", "diary", "model-affinity"))

    config = evolve(config_on_free_ports(), node=node, plugins=settings, workers=ONE)
    with QueueManager(config) as manager:
        first = manager.send_task("cpu-light", trial()).result(timeout=60)
        assert first.worker in ("diary-0/cpu-0", "diary-1/cpu-0")
        nodes = [psutil.Process(int(each)) for each in _lines(tmp_path / "diary.ids")]
        assert len(nodes) == 2
        for each in nodes:
            each.kill()
        # Not psutil.wait_procs: it would reap children that are the launcher's to wait for.
        until = time.monotonic() + 50
        while len(_lines(diary)) < 4 and time.monotonic() < until:
            time.sleep(0.02)
        again = manager.send_task("cpu-light", trial()).result(timeout=60)

        assert again.worker in ("diary-0/cpu-0", "diary-1/cpu-0")
        assert sorted(_lines(diary)) == ["diary-0", "diary-0", "diary-1", "diary-1"]
    gone = [int(each) for each in _lines(tmp_path / "diary.ids")]
    assert not any(psutil.pid_exists(each) for each in gone)


def test_nodes_behind_a_remote_shell_serve_and_leave_with_their_broker(
    plugins: Path, tmp_path: Path
) -> None:
    """What stands for ssh joins its arguments and hands them to a shell, as ssh does."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nshift\nexec env -i sh -c "$*"\n', encoding="utf-8")
    ssh.chmod(0o755)
    file = tmp_path / "settings.toml"
    file.write_text(
        f"""
        [node]
        launcher = "process"
        options = {{ prefix = ["{ssh}", "host{{number}}"], settings = "shell", program = [
          "env", "PYTHONPATH={python_path(plugins)}", "HOME={tmp_path}",
          "{sys.executable}", "-m", "paintmq"] }}
        [workers]
        count = 1
        [plugins]
        allow = ["trial", "process", "model-affinity"]
        """,
        encoding="utf-8",
    )
    environment = private_environment(tmp_path, plugins=plugins, PAINTMQ_BROKER__PORT="0")
    with CommandProcess(["up", "--config", file], environment | {"PAINTMQ_LOG": "info"}) as up:
        endpoint = up.wait_for_line(r"broker for clients at (\S+)")[1]
        with Client(endpoint) as client:
            assert client.submit(trial()).result(timeout=60).worker == "process-0/cpu-0"
        (node,) = [
            each
            for each in psutil.Process(up.process.pid).children(recursive=True)
            if "--tethered" in each.cmdline()
        ]

        os.kill(up.process.pid, signal.SIGKILL)
        up.wait()
        until = time.monotonic() + 45
        while _lives(node) and time.monotonic() < until:
            time.sleep(0.02)

        assert not _lives(node), "it outlived its broker"


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").split()
