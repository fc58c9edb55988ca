"""The embedded manager, with a real broker and, where a test needs them, real worker processes."""

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from attrs import evolve

from paintmq import MonitoringConfig, QueueManager, Task, TaskState, TaskType
from paintmq.config import BrokerConfig, NodeConfig, QueueConfig, RouterConfig
from paintmq.errors import (
    ConfigError,
    InvalidOptionError,
    ManagerStoppedError,
    PortInUseError,
    RejectedError,
    TaskRejectedError,
    UnknownModelError,
    UnknownQueueError,
)
from paintmq.model import InputSpec, Job, ModelSpec, Needs
from paintmq.plugin.manager import PluginManager
from paintmq.routing import QueueView
from paintmq.testing.embedded_manager import config_on_free_ports, embedded_manager
from paintmq.testing.plain_router import PlainRouter

SOME_QUEUES = {"first": QueueConfig(), "second": QueueConfig()}


def needs_gpu(job: Job) -> Needs:
    return Needs(gpu_memory_mb=6_000 if job.device == "cuda" else 0)


class Models:
    """A plugin whose models nobody has to run in these tests."""

    def paintmq_register_models(self, register: Any) -> None:
        inputs = (InputSpec(name="image"),)
        register(
            ModelSpec(
                name="lama",
                implementation="nowhere:Lama",
                devices=("cuda", "cpu"),
                needs=needs_gpu,
                effort="intensive",
                inputs=inputs,
            )
        )
        register(ModelSpec(name="small", implementation="nowhere:Small", inputs=inputs))
        register(
            ModelSpec(
                name="giant",
                implementation="nowhere:Giant",
                devices=("cuda",),
                needs=lambda job: Needs(gpu_memory_mb=1_000_000),
            )
        )


class ByExpectedWork(PlainRouter):
    """Counts what waits even where nobody works."""

    def choose_queue(self, queues: Sequence[QueueView], *, now: float) -> str:
        return min(queues, key=lambda queue: queue.expected_work).name


class Routers:
    """A plugin with the router of the default configuration's name."""

    def paintmq_register_routers(self, register: Any) -> None:
        register("model-affinity", lambda parameters: ByExpectedWork())


@pytest.fixture
def plugins() -> PluginManager:
    manager = PluginManager()
    manager.register(Models(), "models")
    manager.register(Routers(), "router")
    return manager


def make_task(model: str = "small", **changes: Any) -> Task:
    config = {"model": model, **changes.pop("config", {})}
    return Task(task_type=TaskType.INPAINT, config=config, **changes)


def left_behind() -> tuple[set[str], set[int], list[str]]:
    """Return the threads, child processes and open files of this process."""
    process = psutil.Process()
    files = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    return (
        {thread.name for thread in threading.enumerate()},
        {child.pid for child in process.children(recursive=True)},
        sorted(file.partition(":")[0] for file in files),
    )


@pytest.fixture
def nothing_left() -> Iterator[None]:
    before = left_behind()
    yield
    assert left_behind() == before


# ---- routing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "queue"),
    [
        ({"model": "lama", "device": "cuda"}, "gpu-high"),
        ({"model": "lama"}, "gpu-high"),
        ({"model": "lama", "device": "cpu"}, "cpu-intensive"),
        ({"model": "small"}, "cpu-light"),
    ],
)
def test_a_task_is_routed_by_what_it_needs_before_anything_runs(
    plugins: PluginManager, config: dict[str, Any], queue: str
) -> None:
    manager = QueueManager(plugins=plugins)

    assert manager.route_task(Task(TaskType.INPAINT, config)) == queue


def test_an_unknown_model_is_refused_with_what_is_installed(plugins: PluginManager) -> None:
    with pytest.raises(UnknownModelError, match=r"'nope'.*giant, lama, small"):
        QueueManager(plugins=plugins).route_task(make_task("nope"))


def test_an_option_the_model_has_not_is_refused(plugins: PluginManager) -> None:
    with pytest.raises(InvalidOptionError, match="radius"):
        QueueManager(plugins=plugins).route_task(make_task(config={"radius": 5}))


def test_a_task_no_queue_could_ever_hold_is_refused_with_a_reason_for_each(
    plugins: PluginManager,
) -> None:
    with pytest.raises(RejectedError, match="gpu-high: needs 1000000 MB") as caught:
        QueueManager(plugins=plugins).route_task(make_task("giant"))

    assert caught.value.code == "no_queue_fits"
    assert all(queue in str(caught.value) for queue in QueueManager().queues)


def test_a_running_broker_routes_by_load(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, queues=SOME_QUEUES, plugins=plugins) as manager:
        task = make_task()
        busy = manager.route_task(task)
        _wait_for_acceptance(manager.send_task(busy, task))

        assert (busy, manager.route_task(make_task())) == ("first", "second")


def test_a_running_broker_refuses_in_words_to_route_to_full_queues(
    plugins: PluginManager,
) -> None:
    queues = {"only": QueueConfig(capacity=1)}
    with embedded_manager(workers=0, queues=queues, plugins=plugins) as manager:
        _wait_for_acceptance(manager.send_task("only", make_task()))

        with pytest.raises(RejectedError, match="queue only is full") as caught:
            manager.route_task(make_task())

    assert caught.value.code == "queue_full"
    assert caught.value.retry_after is not None


def _wait_for_acceptance(handle: Any) -> None:
    for update in handle.updates(30):
        if update.state is not TaskState.SUBMITTED:
            return


# ---- sending -----------------------------------------------------------------------------------


def test_a_task_without_a_worker_waits_and_says_what_for(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        task = make_task("lama", config={"device": "cuda"})
        handle = manager.send_task(manager.route_task(task), task)

        assert handle
        _wait_for_acceptance(handle)
        assert handle.state is TaskState.QUEUED
        assert handle.queue == "gpu-high"
        assert "worker" in handle.waiting_for
        assert not handle.done()


def test_sending_returns_at_once_and_the_handle_tells_what_the_broker_refused(
    plugins: PluginManager,
) -> None:
    queues = {"only": QueueConfig(capacity=1)}
    with embedded_manager(workers=0, queues=queues, plugins=plugins) as manager:
        _wait_for_acceptance(manager.send_task("only", make_task()))
        refused = manager.send_task("only", make_task())

        with pytest.raises(TaskRejectedError, match="full") as caught:
            refused.result(30)

    assert caught.value.code == "queue_full"
    assert caught.value.retry_after is not None


def test_a_queue_that_cannot_hold_the_task_is_refused_naming_those_that_can(
    plugins: PluginManager,
) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        handle = manager.send_task("gpu-low", make_task("lama"))

        with pytest.raises(TaskRejectedError, match=r"gpu-low.*needs 6000 MB.*gpu-high"):
            handle.result(30)


def test_an_unknown_queue_is_refused_naming_all(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        with pytest.raises(UnknownQueueError, match=r"'gpu-hihg'; there are gpu-high, gpu-med"):
            manager.send_task("gpu-hihg", make_task())
        with pytest.raises(UnknownQueueError, match="'gpu-hihg'"):
            manager.get_queue_stats("gpu-hihg")


def test_a_task_cannot_be_sent_before_the_start(plugins: PluginManager) -> None:
    with pytest.raises(RuntimeError, match=r"not started: call start\(\)"):
        QueueManager(plugins=plugins).send_task("cpu-light", make_task())


def test_a_waiting_task_is_cancelled(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        handle = manager.send_task("cpu-light", make_task())

        assert handle.cancel(30) == "cancelled"
        assert manager.get_queue_stats("cpu-light")["cancelled"] == 1


def test_a_task_is_fetched_by_its_id_from_any_manager_on_the_same_broker(
    plugins: PluginManager,
) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        handle = manager.send_task("cpu-light", make_task())
        _wait_for_acceptance(handle)

        again = manager.fetch(handle.id)
        _wait_for_acceptance(again)
        assert again.state is TaskState.QUEUED


# ---- statistics --------------------------------------------------------------------------------


def test_statistics_tell_of_every_queue(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        for _ in range(3):
            _wait_for_acceptance(manager.send_task("cpu-light", make_task()))
        stats = manager.get_queue_stats()

        assert list(stats) == list(manager.queues)
        assert (stats["cpu-light"]["waiting"], stats["serverless"]["waiting"]) == (3, 0)
        assert manager.statistics().unaccounted == 0
        assert len({queue["port"] for queue in stats.values()} - {0}) == 6
        assert manager.get_queue_stats("cpu-light") == {
            "name": "cpu-light",
            "port": stats["cpu-light"]["port"],
            "waiting": 3,
            "running": 0,
            "succeeded": 0,
            "failed": 0,
            "cancelled": 0,
            "expired": 0,
            "dead": 0,
            "rejected": 0,
            "bytes_waiting": 0,
            "workers": 0,
            "expected_work": pytest.approx(3.0),
            "oldest_wait": pytest.approx(0, abs=30),
        }


def test_statistics_are_zero_while_nothing_runs(plugins: PluginManager) -> None:
    stats = QueueManager(plugins=plugins).get_queue_stats()

    assert stats["gpu-high"]["port"] == 5555
    assert {queue["waiting"] for queue in stats.values()} == {0}


def test_samples_are_kept_and_tell_of_throughput(plugins: PluginManager) -> None:
    often = MonitoringConfig(metrics_interval=0.01, collect_system_metrics=False)
    with embedded_manager(workers=0, plugins=plugins, monitoring=often) as manager:
        pause = threading.Event()

        def wait_until_sampled(cancelled: int) -> None:
            for _ in range(3000):
                latest = manager.history.latest
                if latest is not None and latest.statistics.total("cancelled") == cancelled:
                    return
                pause.wait(0.01)
            raise AssertionError("no such sample")

        wait_until_sampled(0)
        handle = manager.send_task("cpu-light", make_task())
        assert handle.cancel() == "cancelled"
        wait_until_sampled(1)

        assert manager.history.rate("cancelled", over=3600, queue="cpu-light") > 0
    assert manager.history.latest is not None, "it is still there when the manager has stopped"


def test_the_broker_is_asked_why_a_task_waits(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        handle = manager.send_task("cpu-light", make_task())
        _wait_for_acceptance(handle)
        answer: Any = manager.ask("why", task_id=handle.id)

    assert answer["task"]["state"] == "queued"


# ---- starting and stopping ---------------------------------------------------------------------


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
    _wait_for_acceptance(handle)
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
    _wait_for_acceptance(handle)  # before that it would be refused, as the broker is shutting down
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
        _wait_for_acceptance(first.send_task("cpu-light", make_task()))

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


# ---- with workers ------------------------------------------------------------------------------


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
        _wait_for_acceptance(manager.send_task("cpu-light", task))

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


def test_the_router_is_the_configured_one(plugins: PluginManager) -> None:
    manager = QueueManager(config_on_free_ports(router=RouterConfig(name="nope")), plugins=plugins)

    with pytest.raises(Exception, match="'nope' is not installed"):
        manager.route_task(make_task())
