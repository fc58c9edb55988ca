"""The embedded manager as a client: its verbs, ports of its own, threads and processes."""

import subprocess
import sys
import threading
from contextlib import ExitStack

import pytest
from attrs import evolve
from tests.harness.trial_manager import make_task

from paintmq import Client, QueueManager
from paintmq.config import DEFAULT_QUEUE_CONFIGS, BrokerConfig, Config, QueueConfig
from paintmq.embedded_ports import on_ports_of_its_own
from paintmq.errors import RefusedError, TaskRejectedError
from paintmq.plugin.manager import PluginManager
from paintmq.statistics import BrokerStatistics
from paintmq.testing.embedded_manager import embedded_manager

# ---- the verbs of a client ---------------------------------------------------------------------


def test_a_manager_has_the_verbs_of_a_client(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        handle = manager.submit(make_task()).accepted(30)

        assert handle.queue == "cpu-light", "the router's choice"
        assert manager.cancel(handle) == "cancelled"
        assert manager.cancel(handle.id) == "cancelled"
        assert [each.id for each in manager.as_completed([handle], timeout=30)] == [handle.id]
        outcomes = manager.map([make_task("nope")], return_exceptions=True, timeout=30)
        assert [type(each) for each in outcomes] == [TaskRejectedError]
        assert isinstance(manager.statistics(), BrokerStatistics)
        assert set(VERBS) <= set(dir(manager))


VERBS = ("submit", "fetch", "cancel", "map", "as_completed", "ask", "statistics")


def test_the_same_mistake_is_caught_by_one_except_clause_everywhere(
    plugins: PluginManager,
) -> None:
    caught: list[str] = []
    with (
        embedded_manager(workers=0, plugins=plugins) as manager,
        Client(manager.endpoint) as client,
    ):
        for attempt in (
            lambda: manager.route_task(make_task(config={"radius": 5})),
            lambda: manager.submit(make_task(config={"radius": 5})).result(30),
            lambda: client.submit(make_task(config={"radius": 5})).accepted(30),
        ):
            try:
                attempt()
            except RefusedError as error:
                caught.append(error.code)

    assert caught == ["invalid_option"] * 3


# ---- ports -------------------------------------------------------------------------------------


def test_managers_stand_neither_in_each_others_way_nor_in_a_services(
    plugins: PluginManager,
) -> None:
    with ExitStack() as stack:
        managers = [stack.enter_context(QueueManager(workers=0, plugins=plugins)) for _ in range(2)]
        ports = [
            {queue["port"] for queue in manager.get_queue_stats().values()} for manager in managers
        ]
        usual = {queue.port for queue in DEFAULT_QUEUE_CONFIGS.values()}

        assert [len(each) for each in ports] == [6, 6]
        assert not ports[0] & ports[1]
        assert not (ports[0] | ports[1]) & usual


def test_ports_that_are_named_are_kept() -> None:
    named = evolve(Config(), broker=BrokerConfig(port=7000), queues={"own": QueueConfig(port=7001)})
    usual = on_ports_of_its_own(Config())

    assert on_ports_of_its_own(named) == named
    assert (usual.broker.port, {queue.port for queue in usual.queues.values()}) == (0, {0})
    assert list(usual.queues) == list(DEFAULT_QUEUE_CONFIGS)


# ---- threads and processes ---------------------------------------------------------------------


def test_stopping_in_a_callback_is_refused_rather_than_for_ever(plugins: PluginManager) -> None:
    """F21: it deadlocked, and so did every stop after it."""
    errors: list[str] = []
    called = threading.Event()
    with embedded_manager(workers=0, plugins=plugins) as manager:

        def stop(_: object) -> None:
            try:
                manager.stop()
            except RuntimeError as error:
                errors.append(str(error))
            called.set()

        handle = manager.submit(make_task()).accepted(30)
        handle.add_done_callback(stop)
        threading.Thread(target=handle.cancel).start()
        assert called.wait(30)

    assert "stop() in a callback" in errors[0]


def test_a_callback_may_use_the_manager_while_it_is_stopped(plugins: PluginManager) -> None:
    """The callbacks of what still waits run while stop() waits for their thread."""
    manager = embedded_manager(workers=0, plugins=plugins)
    manager.start()
    told: list[str] = []

    def route(_: object) -> None:
        told.append(manager.route_task(make_task()))
        with pytest.raises(RuntimeError, match="stop"):
            manager.stop()

    manager.submit(make_task()).accepted(30).add_done_callback(route)
    stopping = threading.Thread(target=manager.stop, daemon=True)
    stopping.start()
    stopping.join(30)

    assert not stopping.is_alive()
    assert told == ["cpu-light"]


FORKS = """
import os, sys
from paintmq import QueueManager, Task, TaskType

made, started = QueueManager(workers=0), QueueManager(workers=0)
started.start()
child = os.fork()
if child == 0:
    made.start()  # made before the fork, used here alone
    task = Task(TaskType.INPAINT, {"model": "opencv"}, {"image": b"x", "mask": b"y"})
    assert made.submit(task).accepted(30).cancel(30) == "cancelled"
    made.stop()
    assert not made.is_running
    made.start()
    made.stop()
    assert not started.is_running
    assert not started.stop().tasks
    for use in (started.start, lambda: started.submit(task), lambda: started.ask("version")):
        try:
            use()
            os._exit(4)
        except RuntimeError as error:
            if "before the process forked" not in str(error):
                print(error, file=sys.stderr)
                os._exit(3)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert started.ask("version")
started.stop()
sys.exit(code)
"""


@pytest.mark.slow
def test_a_manager_made_before_a_fork_works_in_the_child_and_one_started_says_why_not() -> None:
    """F21: ``stop`` in the child did nothing and said nothing."""
    command = [sys.executable, "-c", FORKS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_a_manager_shows_what_it_is(plugins: PluginManager) -> None:
    with embedded_manager(workers=0, plugins=plugins) as manager:
        assert repr(manager).startswith("<QueueManager at tcp://127.0.0.1:")
    assert "not running" in repr(manager)
