"""The history in its file: made up from below, over restarts, and within its bounds."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.harness.measured_system import make_system

from paintmq.broker.accounting.chronicle import HOUR, KEPT, MINUTE, SECOND, TOTAL, Point
from paintmq.broker.accounting.node_load import load_of
from paintmq.broker.accounting.sketch import Sketch
from paintmq.broker.stores.history_table import SCHEMA, HistoryTable, Wanted
from paintmq.statistics import SystemMetrics

START = 1_796_000_400.0
"""The beginning of an hour."""


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as it:
        it.execute(SCHEMA)
        yield it


def point(succeeded: int = 1) -> Point:
    made = Point(seconds=1.0, waiting=2.0, succeeded=succeeded)
    for _ in range(succeeded):
        made.run.add(0.5)
    return made


def system(cpu: float, gpus: int = 1) -> SystemMetrics:
    used = {"memory_used_mb": 100, "memory_total_mb": 200}
    return make_system(cpu=cpu, gpus=gpus, utilisation=cpu, **used)


def kept(connection: sqlite3.Connection, length: int) -> dict[int, Point]:
    rows = connection.execute("SELECT at, point FROM history WHERE length = ?", (length,))
    return {at: json.loads(text) for at, text in rows}


def live(table: HistoryTable, connection: sqlite3.Connection, first: int, last: int) -> None:
    for second in range(first, last):
        table.write(connection, {TOTAL: point()}, START + second)


def test_seconds_become_minutes_and_minutes_hours(connection: sqlite3.Connection) -> None:
    table = HistoryTable()
    live(table, connection, 0, 3_661)
    minutes = table.read(connection, Wanted(since=START, until=START + 5_000))
    hours = table.read(connection, Wanted(since=START - 30 * 86_400, until=START + 5_000))

    assert minutes["length"] == MINUTE
    assert [each["succeeded"] for each in minutes["points"]] == [60] * 61
    assert minutes["points"][0]["waiting"] == 2.0
    assert minutes["points"][0]["throughput"] == 1.0
    assert minutes["points"][0]["run_p50"] == pytest.approx(0.5, rel=0.03)
    assert hours["length"] == HOUR
    assert [each["succeeded"] for each in hours["points"]] == [3_600]


def test_a_restart_in_the_middle_of_a_minute_loses_nothing(connection: sqlite3.Connection) -> None:
    live(HistoryTable(), connection, 0, 90)
    live(HistoryTable(), connection, 100, 185)
    table = HistoryTable()
    minutes = table.read(connection, Wanted(since=START, until=START + 6_000))

    assert [each["succeeded"] for each in minutes["points"]] == [60, 50, 60]


def test_two_points_of_one_second_are_added(connection: sqlite3.Connection) -> None:
    table = HistoryTable()
    table.write(connection, {TOTAL: point(), ("queue", "q"): point()}, START + 0.1)
    table.write(connection, {TOTAL: point(2)}, START + 0.9)
    seconds = table.read(connection, Wanted(since=START, until=START + 1))
    of_queue = table.read(connection, Wanted(kind="queue", name="q", since=START, until=START + 1))

    assert [each["succeeded"] for each in seconds["points"]] == [3]
    assert [each["succeeded"] for each in of_queue["points"]] == [1]


def test_what_is_too_old_goes(connection: sqlite3.Connection) -> None:
    table = HistoryTable()
    live(table, connection, 0, 130)
    table.write(connection, {TOTAL: point()}, START + KEPT[SECOND] + 200)
    table.write(connection, {TOTAL: point()}, START + KEPT[MINUTE] + 500)

    assert len(kept(connection, SECOND)) == 1
    assert START not in kept(connection, MINUTE)
    assert kept(connection, HOUR)


def test_the_file_has_a_bound(connection: sqlite3.Connection) -> None:
    table = HistoryTable(most_bytes=400_000)
    wide = Point(seconds=1.0, succeeded=300, run=Sketch(dict.fromkeys(range(300), 1), 1.0, 1.0))
    for second in range(1_500):
        table.write(connection, {TOTAL: wide}, START + second)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]

    # Between two looks, a minute's points come on top.
    assert pages * size < 400_000 + 80 * 5_000
    assert max(kept(connection, SECOND)) == int(START) + 1_499


def test_the_load_of_a_node_is_kept_as_mean_and_highest(connection: sqlite3.Connection) -> None:
    table, node = HistoryTable(), ("node", "one")
    for second, cpu in ((0, 0.25), (5, 0.75), (61, 0.5)):
        table.write(connection, {node: load_of(system(cpu))}, START + second)
    whole = Wanted(kind="node", name="one", since=START, until=START + 5_000)
    (minute,) = table.read(connection, whole)["points"]

    assert (minute["measured"], minute["cpu"], minute["cpu_most"]) == (2, 0.5, 0.75)
    assert (minute["gpu0_utilisation"], minute["gpu0_power"]) == (0.5, 50.0)
    assert (minute["memory_used_mb"], minute["memory_limit_mb"]) == (100, 200)


def test_many_nodes_push_no_queue_out_of_the_history(connection: sqlite3.Connection) -> None:
    table = HistoryTable(most_bytes=400_000)
    nodes = {("node", f"node-{number}"): load_of(system(0.5, gpus=8)) for number in range(10)}
    for second in range(300):
        table.write(connection, {TOTAL: point(), **nodes}, START + second)
    of_all = table.read(connection, Wanted(since=START, until=START + 300))["points"]
    asked = Wanted(kind="node", name="node-9", since=START, until=START + 300)
    of_node = table.read(connection, asked)["points"]

    assert [each["at"] for each in of_all] == [START + second for second in range(300)]
    assert 0 < len(of_node) < 300
    assert of_node[-1]["at"] == START + 299


def test_a_bound_that_is_too_small_does_not_hang(connection: sqlite3.Connection) -> None:
    table = HistoryTable(most_bytes=1)
    live(table, connection, 0, 3)

    assert kept(connection, SECOND).keys() == {int(START) + 1, int(START) + 2}


def test_a_write_that_fails_leaves_nothing_half_done(connection: sqlite3.Connection) -> None:
    table = HistoryTable()
    with pytest.raises(sqlite3.Error):
        table.write(connection, {TOTAL: point(), ("queue", None): point()}, START)  # type: ignore[dict-item]  # on purpose
    assert not kept(connection, SECOND)
    assert not connection.in_transaction
