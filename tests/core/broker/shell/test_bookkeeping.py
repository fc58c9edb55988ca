"""Counts survive a broker that was stopped, killed, or lost its file of statistics."""

import logging
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from cattrs import unstructure
from tests.harness.broker_harness import make_machine
from tests.harness.broker_process import BrokerProcess
from tests.harness.measured_system import make_system
from tests.harness.toy_broker import toy_client, toy_config, toy_plugins, toy_task, toy_worker

from paintmq import Client
from paintmq.broker.accounting.ledger import MOST_TENANTS, read_books
from paintmq.broker.machine import Credentials
from paintmq.broker.shell.bookkeeping import Bookkeeping
from paintmq.broker.shell.server import BrokerServer
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.memory import MemoryStore
from paintmq.broker.stores.statistics_file import StatisticsFile, read_books_at
from paintmq.cli.stats_command import read_history
from paintmq.config import MonitoringConfig
from paintmq.statistics import BrokerStatistics
from paintmq.wire.messages import (
    Accepted,
    Assign,
    AttemptSucceeded,
    Cancel,
    CancelAnswered,
    Finished,
    NodeMeasured,
    Submit,
)

NODE = "node"
MEASURED = make_system(gpus=1, power=200.0)
COUNTS = ("accepted", "waiting", "running", "succeeded", "cancelled", "expired", "dead", "failed")


@contextmanager
def asking(server: Any) -> Iterator[Client]:
    with Client(server.client_endpoint) as client:
        yield client


def statistics(server: Any) -> BrokerStatistics:
    with asking(server) as client:
        return client.statistics()


def run_some(server: Any) -> None:
    """Have three tasks succeed, two be cancelled and four wait."""
    with toy_client(server) as client, toy_worker(server, credit=9) as worker:
        wanted = [toy_task(tenant="studio") for _ in range(3)]
        for task in wanted:
            client.say(Submit(task))
        ended = 0
        while ended < len(wanted):
            for item in worker.hear(Assign).assignments:
                ids: dict[str, Any] = {"task_id": item.task.id, "fence": item.fence}
                worker.say(AttemptSucceeded(**ids, outputs=(), ran=0.1))
                client.hear(Finished)
                ended += 1
    with toy_client(server) as client:
        waiting = [toy_task() for _ in range(6)]
        for task in waiting:
            client.say(Submit(task))
            client.hear(Accepted)
        for task in waiting[:2]:
            client.say(Cancel(task.id))
            client.hear(CancelAnswered)


def counts(shown: BrokerStatistics) -> dict[str, int]:
    return {name: shown.total(name) for name in COUNTS}


EXPECTED = {
    "accepted": 9,
    "waiting": 4,
    "running": 0,
    "succeeded": 3,
    "cancelled": 2,
    "expired": 0,
    "dead": 0,
    "failed": 0,
}


def test_a_killed_broker_has_lost_no_count(tmp_path: Path) -> None:
    with BrokerProcess(journal=tmp_path) as broker:
        run_some(broker)
        before = statistics(broker)
    with BrokerProcess(journal=tmp_path) as broker:
        after = statistics(broker)

    assert counts(before) == EXPECTED
    assert counts(after) == EXPECTED
    assert after.unaccounted == 0
    assert after.since == before.since
    assert after.tenants == before.tenants
    assert after.queues["cpu-light"].run == before.queues["cpu-light"].run


def test_counts_survive_that_their_tasks_are_forgotten(tmp_path: Path) -> None:
    """The journal keeps a result for a while; the counts stay."""
    timers = {"result_kept": 0.01, "result_kept_at_most": 0.01}
    with BrokerProcess(journal=tmp_path, timers=timers) as broker:
        run_some(broker)
    with BrokerProcess(journal=tmp_path, timers={**timers, "heartbeat": 1.0}) as broker:
        after = statistics(broker)
        with asking(broker) as client:
            known: Any = client.ask("tasks")

    assert counts(after) == EXPECTED
    assert after.unaccounted == 0
    assert len(known["tasks"]) <= 9


@contextmanager
def server_at(path: Path, **settings: Any) -> Iterator[BrokerServer]:
    config = evolve(toy_config(path), **settings)
    server = BrokerServer(config, toy_plugins())
    server.start()
    try:
        yield server
    finally:
        server.stop(grace=0.0)


def test_a_stopped_broker_writes_its_books(tmp_path: Path) -> None:
    with server_at(tmp_path) as server:
        run_some(server)
        before = statistics(server)
    books = read_books(read_books_at(tmp_path / "statistics.db"))

    assert books is not None
    assert books.since == before.since
    assert sum(cell.accepted for cell in books.cells) == 9
    with server_at(tmp_path) as server:
        after = statistics(server)
    assert after.models["toy"].run == before.models["toy"].run


@pytest.mark.parametrize("harm", ["deleted", "damaged", "of another version", "nonsense"])
def test_without_its_file_counting_begins_anew_and_nothing_else_happens(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "statistics.db"
    with server_at(tmp_path) as server:
        run_some(server)
    if harm == "deleted":
        file.unlink()
    elif harm == "damaged":
        file.write_bytes(b"not a database at all, whatever its name says" * 100)
    else:
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            if harm == "nonsense":
                database.execute("UPDATE books SET json = ?", ('{"format": 1, "cells": 7}',))
            else:
                database.execute("PRAGMA user_version = 99")
    with caplog.at_level(logging.WARNING), server_at(tmp_path) as server:
        after = statistics(server)

    assert counts(after) == EXPECTED  # the journal still holds all of these tasks
    assert after.unaccounted == 0
    assert bool(caplog.records) == (harm != "deleted")


def test_books_of_another_journal_are_made_to_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a backup of the journal is put back."""
    with server_at(tmp_path / "one") as server:
        run_some(server)
    with server_at(tmp_path / "other") as server:
        statistics(server)
    shutil.copy(tmp_path / "one" / "statistics.db", tmp_path / "other" / "statistics.db")
    with server_at(tmp_path / "other") as server:
        after = statistics(server)

    assert after.unaccounted == 0
    assert counts(after) == EXPECTED | {"waiting": 0, "accepted": 5}
    assert "did not fit" in caplog.text


def test_monitoring_can_be_switched_off(tmp_path: Path) -> None:
    with server_at(tmp_path, monitoring=MonitoringConfig(enabled=False)) as server:
        run_some(server)
        shown = statistics(server)

    assert counts(shown) == EXPECTED
    assert (shown.models, shown.run.count) == ({}, 0)
    assert not (tmp_path / "statistics.db").exists()


def test_the_broker_tells_of_its_turns_and_commits(tmp_path: Path) -> None:
    with server_at(tmp_path) as server:
        run_some(server)
        shown = statistics(server)

    assert shown.loop.count > 10
    assert 0 < shown.loop.p50 <= shown.loop.p99 <= shown.loop.longest
    assert shown.loop.up_to[-1] == shown.loop.count
    assert shown.commits.count > 0


def test_a_file_that_cannot_be_written_is_told_of_once_and_costs_no_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").mkdir()
    file = StatisticsFile(tmp_path / "folder")  # where a file should be
    file.open()
    for _ in range(3):
        file.write_books({})
    file.close()

    assert file.failures == 1
    assert len(caplog.records) == 1
    assert "tasks are not affected" in caplog.text


def test_a_slow_disk_delays_nothing() -> None:
    file = StatisticsFile(None)  # its thread has not begun
    accepted = [file.do(lambda _: None) for _ in range(100)]

    assert accepted.count(False) == 36


def test_the_load_of_a_node_is_remembered_over_a_restart(tmp_path: Path) -> None:
    def remembered(client: Client) -> list[Any]:
        until = client.statistics().updated_at
        asked = ("node", NODE)
        return list(read_history(client, asked, since=until - 60, until=until)["points"])

    with server_at(tmp_path) as server, asking(server) as client, toy_worker(server) as worker:
        ends = time.monotonic() + 60
        while not remembered(client):
            assert time.monotonic() < ends, "no history came"
            worker.say(NodeMeasured(system=MEASURED))
    with server_at(tmp_path) as server, asking(server) as client:
        points = remembered(client)

    assert points[0]["cpu"] == 0.5
    assert points[0]["gpu0_power"] == 200.0


def test_the_load_of_nodes_is_for_admins() -> None:
    journal = Journal(MemoryStore())
    books = Bookkeeping(journal, None)
    books.start(journal.open(lambda: None), now=1.0)
    asked: dict[str, Any] = {"kind": "node", "name": "one", "since": 0, "until": 1}
    with pytest.raises(ValueError, match="for admins alone"):
        books.history(asked, Credentials(key="bob", is_admin=False), now=1.0)
    answer = books.history(asked, Credentials(), now=1.0)
    books.close(durable=False)

    assert answer == {"state": "reading"}


def test_points_are_as_far_apart_as_one_asked_for() -> None:
    with pytest.raises(ValueError, match="from 1 to 60 seconds"):
        MonitoringConfig(history_interval=0.5)
    journal = Journal(MemoryStore())
    books = Bookkeeping(journal, None, 10.0)
    books.start(journal.open(lambda: None), now=1.0)
    books.watch(make_machine())
    for second in range(2, 25):
        books(now=float(second))
    asked: dict[str, Any] = {"kind": "total", "name": "", "since": 0, "until": 25}
    ends = time.monotonic() + 60
    while (answer := books.history(asked, Credentials(), now=25.0)) == {"state": "reading"}:
        assert time.monotonic() < ends, "no history came"
    books.close(durable=False)

    assert isinstance(answer, dict)
    assert isinstance(history := answer["history"], dict)
    assert history["length"] == 10.0
    assert [(p["at"], p["seconds"]) for p in history["points"]] == [(12, 10.0), (22, 10.0)]  # type: ignore[union-attr,index,call-overload]  # JSON


def test_many_tenants_cost_a_bounded_answer() -> None:
    journal = Journal(MemoryStore())
    books = Bookkeeping(journal, None)
    recovered = journal.open(lambda: None)
    books.start(recovered, now=1.0)
    for number in range(10_000):
        books.ledger.tenant(f"tenant {number}").accepted += 1

    assert len(books.ledger.tenants) == MOST_TENANTS + 1
    assert len(unstructure(books.ledger.books(0))["tenants"]) == MOST_TENANTS + 1
