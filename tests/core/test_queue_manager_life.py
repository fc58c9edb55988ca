"""The embedded manager started and stopped, also by force, and with real worker processes."""

import logging
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from tests.harness.trial_manager import make_task, wait_for_acceptance

from paintmq import QueueManager, Task, TaskType
from paintmq.config import BrokerConfig, NodeConfig
from paintmq.errors import (
    ConfigError,
    ManagerStoppedError,
    PortInUseError,
    TaskRejectedError,
)
from paintmq.plugin.manager import PluginManager
from paintmq.testing.embedded_manager import config_on_free_ports, embedded_manager

# ---- starting and stopping -----------------------------------------------------------------------


def test_starting_and_stopping_and_starting_again_works(
    plugins: PluginManager, nothing_left: None
) -> None:
    manager = embedded_manager(workers=0, plugins=plugins)
    for _ in range(3):
        manager.start()
        handle = manager.send_task("cpu-light", make_task())
        assert handle.cancel(30) == "cancelled"
        manager.stop()
    manager.stop()

    assert not manager.is_running


def test_starting_twice_is_a_mistake(plugins: PluginManager) -> None:
    with (
        embedded_manager(workers=0, plugins=plugins) as manager,
        pytest.raises(RuntimeError, match="running already"),
    ):
        manager.start()


def test_stopping_tells_what_was_waiting(
    plugins: PluginManager, caplog: pytest.LogCaptureFixture
) -> None:
    manager = embedded_manager(workers=0, plugins=plugins)
    manager.start()
    handle = manager.send_task("cpu-light", make_task())
    wait_for_acceptance(handle)
    with caplog.at_level(logging.WARNING, "paintmq.queue_manager"):
        report = manager.stop()

    assert report.waiting == {"cpu-light": 1}
    assert report.tasks == (handle.id,)
    assert "1 waiting in cpu-light" in caplog.text
    assert "(waited for by queue manager)" in caplog.text


def test_a_handle_that_still_waits_is_told_that_the_manager_stopped(
    plugins: PluginManager,
) -> None:
    manager = embedded_manager(workers=0, plugins=plugins)
    manager.start()
    handle = manager.send_task("cpu-light", make_task())
    wait_for_acceptance(handle)  # before that it would be refused, as the broker is shutting down
    errors: list[Exception] = []

    def wait() -> None:
        try:
            handle.result()
        except ManagerStoppedError as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    manager.stop()
    waiting.join()

    assert len(errors) == 1
    assert handle.done()


def test_an_exception_in_the_with_block_passes_and_leaves_nothing(
    plugins: PluginManager, nothing_left: None
) -> None:
    def fail() -> None:
        with embedded_manager(workers=0, plugins=plugins) as manager:
            manager.send_task("cpu-light", make_task())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_a_busy_port_is_named_with_its_queue_and_nothing_is_left_running(
    plugins: PluginManager, nothing_left: None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = config_on_free_ports()
        queues = {**config.queues, "cpu-light": evolve(config.queues["cpu-light"], port=port)}
        manager = QueueManager(evolve(config, queues=queues), plugins=plugins)

        with pytest.raises(PortInUseError, match=rf"{port}.*'cpu-light'"):
            manager.start()

        assert not manager.is_running
    manager.start()
    assert manager.get_queue_stats("cpu-light")["port"] == port
    manager.stop()


def test_a_launcher_that_is_not_installed_is_refused_and_nothing_is_left_running(
    plugins: PluginManager, nothing_left: None
) -> None:
    manager = embedded_manager(node=NodeConfig(launcher="slurm"), plugins=plugins)

    with pytest.raises(ConfigError, match=r"launcher = 'slurm' is not installed .*local"):
        manager.start()

    assert not manager.is_running


def test_several_managers_live_in_one_process(plugins: PluginManager) -> None:
    with (
        embedded_manager(workers=0, plugins=plugins) as first,
        embedded_manager(workers=0, plugins=plugins) as second,
    ):
        wait_for_acceptance(first.send_task("cpu-light", make_task()))

        assert first.get_queue_stats("cpu-light")["waiting"] == 1
        assert second.get_queue_stats("cpu-light")["waiting"] == 0


def test_any_thread_may_call_any_method(plugins: PluginManager) -> None:
    with (
        embedded_manager(workers=0, plugins=plugins) as manager,
        ThreadPoolExecutor(8) as threads,
    ):

        def use(number: int) -> str:
            task = make_task(priority=number % 10)
            handle = manager.send_task(manager.route_task(task), task)
            manager.get_queue_stats()
            return handle.cancel(30)

        assert set(threads.map(use, range(80))) == {"cancelled"}
        assert manager.statistics().unaccounted == 0


def test_stopping_while_others_use_it_raises_nothing_but_what_is_documented(
    plugins: PluginManager,
) -> None:
    manager = embedded_manager(workers=0, plugins=plugins)
    manager.start()
    stopped = threading.Event()

    def use() -> None:
        while not stopped.is_set():
            try:
                manager.send_task("cpu-light", make_task()).result(0.001)
                manager.get_queue_stats()
            except (RuntimeError, ManagerStoppedError, TaskRejectedError, TimeoutError):
                pass  # not running, stopped meanwhile, came while it drained, still waits

    with ThreadPoolExecutor(4) as threads:
        users = [threads.submit(use) for _ in range(4)]
        manager.stop()
        stopped.set()
        for user in users:
            user.result()


# ---- with workers --------------------------------------------------------------------------------


def picture(number: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return an image of one colour, with a damaged square, and the mask of the square."""
    image = np.full((32, 32, 3), (number % 256, number // 256, 77), np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    image[8:16, 8:16] = 255
    mask[8:16, 8:16] = 255
    return image, mask


def restore(manager: QueueManager, number: int) -> np.ndarray[Any, Any]:
    image, mask = picture(number)
    task = Task(
        task_type=TaskType.INPAINT,
        config={"model": "opencv", "radius": 3},
        inputs={"image": image, "mask": mask},
        priority=number % 10,
    )
    return manager.send_task(manager.route_task(task), task).result(timeout=60).image


@pytest.mark.slow
def test_two_hundred_tasks_of_eight_threads_each_get_their_own_result(nothing_left: None) -> None:
    with embedded_manager() as manager, ThreadPoolExecutor(8) as threads:
        images = list(threads.map(lambda number: restore(manager, number), range(200)))

    for number, image in enumerate(images):
        # A hole in one colour is filled with that colour.
        assert set(map(tuple, image.reshape(-1, 3).tolist())) == {(number % 256, number // 256, 77)}


@pytest.mark.slow
def test_a_task_that_was_sent_before_a_restart_is_finished_after_it(tmp_path: Path) -> None:
    broker = BrokerConfig(port=0, durability="process", journal=str(tmp_path / "journal"))
    image, mask = picture(5)
    task = Task(TaskType.INPAINT, {"model": "opencv"}, {"image": image, "mask": mask})
    with embedded_manager(workers=0, broker=broker) as manager:
        wait_for_acceptance(manager.send_task("cpu-light", task))

    with embedded_manager(broker=broker) as manager:
        result = manager.fetch(task.id).result(60)

    assert tuple(result.image[10, 10]) == (5, 0, 77)


@pytest.mark.slow
def test_an_exception_with_running_workers_leaves_nothing(nothing_left: None) -> None:
    def fail() -> None:
        with embedded_manager() as manager:
            restore(manager, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


FORGETFUL = """
from paintmq import Task
from paintmq.testing.embedded_manager import embedded_manager

manager = embedded_manager()
manager.start()
manager.send_task("cpu-light", Task("inpaint", {"model": "opencv"})).done()
raise ZeroDivisionError
"""


@pytest.mark.slow
def test_a_program_that_dies_without_stopping_it_ends_all_the_same() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", FORGETFUL], check=False, capture_output=True, text=True, timeout=50
    )

    assert finished.returncode == 1
    assert "ZeroDivisionError" in finished.stderr
    assert finished.stderr.count("Traceback") == 1
