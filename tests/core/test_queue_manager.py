"""The embedded manager with a real broker: routing, sending, statistics."""

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import asdict
from tests.harness.trial_manager import SOME_QUEUES, make_task, wait_for_acceptance

from paintmq import MonitoringConfig, QueueManager, Task, TaskState, TaskType
from paintmq.config import QueueConfig, RouterConfig
from paintmq.errors import (
    ConfigError,
    InvalidOptionError,
    RejectedError,
    TaskRejectedError,
    UnknownModelError,
    UnknownQueueError,
)
from paintmq.plugin.manager import PluginManager
from paintmq.statistics import Durations
from paintmq.testing.embedded_manager import config_on_free_ports, embedded_manager
from paintmq.units import MIB

# ---- routing -------------------------------------------------------------------------------------


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
        wait_for_acceptance(manager.send_task(busy, task))

        assert (busy, manager.route_task(make_task())) == ("first", "second")


def test_a_running_broker_refuses_in_words_to_route_to_full_queues(
    plugins: PluginManager,
) -> None:
    queues = {"only": QueueConfig(capacity=1)}
    with embedded_manager(workers=0, queues=queues, plugins=plugins) as manager:
        wait_for_acceptance(manager.send_task("only", make_task()))

        with pytest.raises(RejectedError, match="queue only is full") as caught:
            manager.route_task(make_task())

    assert caught.value.code == "queue_full"
    assert caught.value.retry_after is not None


# ---- sending -------------------------------------------------------------------------------------


def test_a_task_without_a_worker_waits_and_says_what_for(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        task = make_task("lama", config={"device": "cuda"})
        handle = manager.send_task(manager.route_task(task), task)

        assert handle
        wait_for_acceptance(handle)
        assert handle.state is TaskState.QUEUED
        assert handle.queue == "gpu-high"
        assert "worker" in handle.waiting_for
        assert not handle.done()


def test_sending_returns_at_once_and_the_handle_tells_what_the_broker_refused(
    plugins: PluginManager,
) -> None:
    queues = {"only": QueueConfig(capacity=1)}
    with embedded_manager(workers=0, queues=queues, plugins=plugins) as manager:
        wait_for_acceptance(manager.send_task("only", make_task()))
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
        wait_for_acceptance(handle)

        again = manager.fetch(handle.id)
        wait_for_acceptance(again)
        assert again.state is TaskState.QUEUED


# ---- statistics ----------------------------------------------------------------------------------


def test_statistics_tell_of_every_queue(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        for _ in range(3):
            wait_for_acceptance(manager.send_task("cpu-light", make_task()))
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
            "accepted": 3,
            "rejected_by": {},
            "retries": 0,
            "leases_lost": 0,
            "crashes": 0,
            "throughput_1m": 0,
            "throughput_5m": 0,
            "throughput_15m": 0,
            "wait": asdict(Durations()),
            "run": asdict(Durations()),
            "total": asdict(Durations()),
            "capacity": 10_000,
            "max_bytes": 4096 * MIB,
            "updated_at": pytest.approx(datetime.now(UTC).timestamp(), abs=60),
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
        wait_for_acceptance(handle)
        answer: Any = manager.ask("why", task_id=handle.id)

    assert answer["task"]["state"] == "queued"


# ---- with workers --------------------------------------------------------------------------------


def test_the_router_is_the_configured_one(plugins: PluginManager) -> None:
    manager = QueueManager(config_on_free_ports(router=RouterConfig(name="nope")), plugins=plugins)

    with pytest.raises(Exception, match="'nope' is not installed"):
        manager.route_task(make_task())


# ---- queues that change --------------------------------------------------------------------------


def test_queues_come_change_and_go_while_a_manager_runs(plugins: PluginManager) -> None:
    with embedded_manager(plugins=plugins, workers=0, queues=SOME_QUEUES) as manager:
        manager.add_queue("mine", {"requirements": {"models": ["small"]}})
        assert manager.queues["mine"] == QueueConfig(models=("small",))
        manager.update_queue("mine", capacity=1, models=("sm*",))
        handle = manager.send_task("mine", make_task("small"))
        wait_for_acceptance(handle)

        manager.remove_queue("mine")

        assert "mine" not in manager.queues
        with pytest.raises(UnknownQueueError):
            manager.send_task("mine", make_task("small"))
        assert manager.control.queues().keys() == SOME_QUEUES.keys()
        assert manager.control.cancel_tasks(model="small") == 1
        with pytest.raises(ConfigError, match="there is no queue 'mine'"):
            manager.remove_queue("mine")


def test_changed_queues_are_there_at_the_next_start_of_the_manager(plugins: PluginManager) -> None:
    manager = embedded_manager(plugins=plugins, workers=0, queues=SOME_QUEUES)
    with manager:
        manager.add_queue("mine", QueueConfig(capacity=7))
        manager.remove_queue("first")
        manager.update_queue("second", capacity=9)

    with manager:
        found = {name: queue.capacity for name, queue in manager.queues.items()}
        assert found == {"second": 9, "mine": 7}
