"""PaintMQ inside a program: the example of the documentation as written, then with real work."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.harness.command_process import private_environment
from tests.harness.trial_models import write_trial_distribution
from tests.harness.written_distribution import python_path

from paintmq import Task, TaskState, TaskType
from paintmq.plugin.manager import PluginManager
from paintmq.testing.embedded_manager import embedded_manager

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"

EXAMPLE = """\
from paintmq import QueueManager, Task, TaskType

queue_manager = QueueManager()
queue_manager.start()
task = Task(task_type=TaskType.INPAINT, config={"model": "lama", "device": "cuda"})
selected_queue = queue_manager.route_task(task)          # "gpu-high"
result = queue_manager.send_task(selected_queue, task)   # a TaskHandle: truthy, .result(), .cancel(), .progress()
stats = queue_manager.get_queue_stats()                  # every queue; get_queue_stats("gpu-high") for one
queue_manager.stop()
"""  # noqa: E501 -- as the documentation has it
OUTCOME = """
import threading, psutil
print(selected_queue, bool(result), result.state.value)
print(*stats)
ports = {queue["port"] for queue in stats.values()}
print(len(ports), 0 in ports, ports & set(range(5550, 5561)))
print(threading.active_count(), len(psutil.Process().children()))
"""

pytestmark = pytest.mark.slow


def test_the_example_runs_as_written(tmp_path: Path) -> None:
    environment = private_environment(tmp_path)
    environment = {k: v for k, v in environment.items() if not k.startswith("PAINTMQ_")}

    done = subprocess.run(
        [sys.executable, "-c", EXAMPLE + OUTCOME],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "gpu-high True queued",
        "gpu-high gpu-medium gpu-low cpu-intensive cpu-light serverless",
        "6 False set()",  # ports of its own, none of a service's
        "1 0",
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_example_among_the_examples_is_the_same() -> None:
    def code(text: str) -> list[str]:
        lines = (line.partition("#")[0].rstrip() for line in text.splitlines())
        return [line for line in lines if line]

    shipped = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")

    assert code(shipped.partition('"""\n\n')[2]) == code(EXAMPLE)


def photograph(number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a part of the cat that differs from every other number's, and its mask."""
    with Image.open(DATA / "chelsea-scratched.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    with Image.open(DATA / "chelsea-scratch-mask.png") as image:
        mask = np.asarray(image.convert("L"))
    left, top = number % 20 * 10, number // 20 * 12
    rows, columns = slice(top, top + 150), slice(left, left + 200)
    return pixels[rows, columns], mask[rows, columns]


def test_two_hundred_tasks_from_eight_threads_each_get_their_own_result() -> None:
    """Compared by content: each is what OpenCV makes of that very input."""
    from paintmq_plugins.opencv import OpenCvOptions
    from paintmq_plugins.opencv_model import inpaint

    def restore(number: int) -> bool:
        image, mask = photograph(number)
        task = Task(
            task_type=TaskType.INPAINT,
            config={"model": "opencv", "radius": 3 + number % 4},
            inputs={"image": image, "mask": mask},
            priority=number % 10,
        )
        result = manager.send_task(manager.route_task(task), task).result(timeout=50)
        expected = inpaint(image, mask, OpenCvOptions(radius=3.0 + number % 4))
        return np.array_equal(result.image, expected)

    with embedded_manager() as manager, ThreadPoolExecutor(8) as threads:
        right = list(threads.map(restore, range(200)))
        stats = manager.get_queue_stats("cpu-light")

    assert right == [True] * 200
    assert (stats["succeeded"], stats["waiting"], stats["running"]) == (200, 0, 0)


@pytest.fixture
def trial_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    """Plugins among them a model that does as it is told; worker processes find it too."""
    folder = write_trial_distribution(tmp_path / "plugins")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", python_path(folder))
    return PluginManager.installed()


def model_hosts() -> list[int]:
    """Return the worker processes that this process has started."""
    return [each.pid for each in psutil.Process().children() if "host" in " ".join(each.cmdline())]


def test_a_task_whose_worker_is_killed_completes_on_a_replacement_once(
    trial_plugins: PluginManager,
) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    mask = np.full((8, 8), 255, np.uint8)
    task = Task(
        task_type=TaskType.INPAINT,
        config={"model": "trial", "do": "ignore", "seconds": 1.0},
        inputs={"image": image, "mask": mask},
    )
    endings: list[TaskState] = []
    with embedded_manager(plugins=trial_plugins) as manager:
        before = set(model_hosts())
        handle = manager.send_task(manager.route_task(task), task)
        handle.add_done_callback(lambda ended: endings.append(ended.state))
        for progress in handle.updates(timeout=30):
            if progress.state is TaskState.RUNNING:
                break
        (host,) = set(model_hosts()) - before

        os.kill(host, signal.SIGKILL)
        result = handle.result(timeout=45)
        stats: Any = manager.ask("statistics")

    assert result.attempts == 2
    assert np.array_equal(result.image, np.full_like(image, 200))
    assert endings == [TaskState.SUCCEEDED]
    assert stats["crashes"] == 1
    assert sum(queue["succeeded"] for queue in stats["queues"].values()) == 1
    assert not psutil.pid_exists(host)


def test_nothing_is_left_after_an_exception_inside_the_block(trial_plugins: PluginManager) -> None:
    threads, hosts = threading.active_count(), model_hosts()
    task = Task(
        task_type=TaskType.INPAINT,
        config={"model": "trial", "do": "heed"},
        inputs={"image": np.zeros((8, 8, 3), np.uint8), "mask": np.full((8, 8), 255, np.uint8)},
    )

    def fail_while_a_task_runs() -> None:
        with embedded_manager(plugins=trial_plugins) as manager:
            handle = manager.send_task(manager.route_task(task), task)
            for progress in handle.updates(timeout=30):
                if progress.state is TaskState.RUNNING:
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_while_a_task_runs()

    assert threading.active_count() == threads
    assert model_hosts() == hosts
