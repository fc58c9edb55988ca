"""What a broker says, when it stops, of what it leaves behind."""

import os

from tests.harness.toy_broker import toy_plugins

from paintmq.broker.shell.stop_report import StopReport
from paintmq.client import Client
from paintmq.client.task import Task
from paintmq.config import RouterConfig
from paintmq.task import TaskId
from paintmq.testing.embedded_manager import embedded_manager


def test_it_is_told_whose_tasks_are_unfinished() -> None:
    """Another program's client may find a manager's port; its tasks are not the manager's."""
    plain = RouterConfig(name="plain")
    with embedded_manager(workers=0, plugins=toy_plugins(), router=plain) as manager:
        endpoints = manager.ask("endpoints")
        assert isinstance(endpoints, dict)
        with Client(str(endpoints["client"])) as other:
            handle = other.submit(Task("plugin", {"model": "toy"}))
            for progress in handle.updates(timeout=30.0):
                if progress.queue:  # it has been accepted
                    break
            report = manager.stop(grace=0.0)

    (name,) = report.clients
    assert name.startswith(f"client {os.getpid()} on ")
    assert str(report).endswith(f": lost, as the journal is in memory (waited for by {name})")


def test_a_few_of_those_that_wait_are_named() -> None:
    report = StopReport(running=1, tasks=(TaskId("1"),), clients=("a", "b", "c", "d", "e"))

    assert str(report) == (
        "1 running: lost, as the journal is in memory (waited for by a, b, c, 2 more)"
    )
    assert str(StopReport(running=1, tasks=(TaskId("1"),))).endswith("in memory")
