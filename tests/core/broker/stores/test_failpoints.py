"""I2: the broker is killed at every point once, with the real store; its promises must hold."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.harness.crash_workload import content

from paintmq.broker.records import StoredTask
from paintmq.broker.stores.failpoints import POINTS, VARIABLE
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.task import TaskState
from paintmq.testing.store_contract import OpenStore

TIMES = (1, 5)
"""The first time, when the store is new, and in the middle of its life."""
ONCE = {
    *("folder", "schema", "restore", "purge", "unlink", "spare"),
    *("checkpoint", "prune", "sweep", "ballast"),
}
"""What happens once or twice in a run: looked at the first time."""


def points() -> list[str]:
    """Return what to set the variable to: each point, the first time and later."""
    once = {name for name in POINTS if name.split(".")[0] in ONCE} | {"sequence.after_fsync"}
    return [f"{name}:{n}" for name in POINTS for n in TIMES if n == 1 or name not in once]


def run_workload(journal: Path, ledger: Path, crash_at: str = "") -> int:
    environment = dict(os.environ)
    environment.pop(VARIABLE, None)
    if crash_at:
        environment[VARIABLE] = crash_at
    command = [sys.executable, "-m", "tests.harness.crash_workload", str(journal), str(ledger)]
    return subprocess.run(command, env=environment, check=False, timeout=25).returncode


def promises(ledger: Path) -> dict[str, tuple[int, set[str]]]:
    """Return each task's number, and what its client was told of it."""
    told: dict[str, tuple[int, set[str]]] = {}
    for line in ledger.read_text().splitlines():
        entry = json.loads(line)
        told.setdefault(entry["task"], (entry["number"], set()))[1].add(entry["event"])
    return told


def endings(journal: Path) -> Counter[str]:
    """Return how often each task ended, by the log that nobody has pruned."""
    with contextlib.closing(sqlite3.connect(journal / "paintmq.db")) as connection:
        records = [json.loads(row) for (row,) in connection.execute("SELECT record FROM log")]
    return Counter(record["task_id"] for record in records if record.get("event") == "finish")


def check(journal: Path, ledger: Path) -> None:
    store = OpenStore(SqliteStore(journal, durability="full"))
    try:
        assert store.recovered.damaged == ()
        assert store.recovered.notes == ()
        stored: dict[str, StoredTask] = {task.request.id: task for task in store.recovered.tasks}
        for task_id, (number, events) in promises(ledger).items():
            if "received" in events and task_id not in stored:
                continue  # forgotten, as it should be
            if "accepted" in events:
                assert task_id in stored, f"task {number} was accepted and is forgotten"
            if "finished" in events:
                assert stored[task_id].status.state is TaskState.SUCCEEDED
        told = promises(ledger)
        for task_id, task in stored.items():
            number = told[task_id][0]
            if task.status.state is TaskState.SUCCEEDED:
                data = store.fetch(task.request, "out", "image")
            else:
                data = store.fetch(task.request, "in", "image")
            result = task.status.state is TaskState.SUCCEEDED
            assert data == content(number, result=result), f"task {number} has other bytes"
    finally:
        store.store.close()
    twice = [task_id for task_id, count in endings(journal).items() if count > 1]
    assert not twice, f"these ended more than once: {twice}"


@pytest.mark.slow
@pytest.mark.parametrize("point", points())
def test_a_kill_at_this_point_breaks_no_promise(tmp_path: Path, point: str) -> None:
    journal, ledger = tmp_path / "journal", tmp_path / "ledger"

    assert run_workload(journal, ledger, crash_at=point) == 9, "the point was never reached"
    check(journal, ledger) if ledger.exists() else None
    assert run_workload(journal, ledger) == 0  # the next broker works on it
    check(journal, ledger)


@pytest.mark.slow
def test_the_check_itself_notices_a_task_that_ended_twice(tmp_path: Path) -> None:
    journal, ledger = tmp_path / "journal", tmp_path / "ledger"
    assert run_workload(journal, ledger) == 0
    ended = max(endings(journal))
    with contextlib.closing(sqlite3.connect(journal / "paintmq.db")) as connection:
        record = json.dumps({"record": "TaskChanged", "task_id": ended, "event": "finish"})
        last = connection.execute("SELECT max(sequence) FROM log").fetchone()[0]
        connection.execute("INSERT INTO log VALUES (?, 0, ?, x'')", (last + 1, record.encode()))
        connection.commit()

    with pytest.raises(AssertionError, match="more than once"):
        check(journal, ledger)


@pytest.mark.slow
def test_the_check_itself_notices_a_broken_promise(tmp_path: Path) -> None:
    journal, ledger = tmp_path / "journal", tmp_path / "ledger"
    assert run_workload(journal, ledger) == 0
    with ledger.open("a") as file:
        file.write(json.dumps({"event": "accepted", "task": "0" * 32, "number": 1}) + "\n")

    with pytest.raises(AssertionError, match="forgotten"):
        check(journal, ledger)


def test_points_cost_nothing_and_do_nothing_unless_armed() -> None:
    assert VARIABLE not in os.environ
