"""The broker is killed at every point once, with the real store; what it promised must hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paintmq.broker.crash_points import POINTS, VARIABLE
from paintmq.broker.records import StoredTask
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.task import TaskState
from paintmq.testing.crash_workload import content
from paintmq.testing.store_contract import OpenStore

TIMES = (1, 5)
"""The first time, when the store is new, and in the middle of its life."""
RARE = {"checkpoint.before", "checkpoint.after", "unlink.before", "unlink.after"} | {
    "sequence.after_fsync"
}


def run_workload(journal: Path, ledger: Path, crash_at: str = "") -> int:
    environment = dict(os.environ)
    environment.pop(VARIABLE, None)
    if crash_at:
        environment[VARIABLE] = crash_at
    command = [sys.executable, "-m", "paintmq.testing.crash_workload", str(journal), str(ledger)]
    return subprocess.run(command, env=environment, check=False, timeout=25).returncode


def promises(ledger: Path) -> dict[str, tuple[int, set[str]]]:
    """Return each task's number, and what its client was told of it."""
    told: dict[str, tuple[int, set[str]]] = {}
    for line in ledger.read_text().splitlines():
        entry = json.loads(line)
        told.setdefault(entry["task"], (entry["number"], set()))[1].add(entry["event"])
    return told


def check(journal: Path, ledger: Path) -> None:
    store = OpenStore(SqliteStore(journal, durability="full"))
    try:
        assert store.recovered.damaged == ()
        assert store.recovered.notes == ()
        stored: dict[str, StoredTask] = {task.request.id: task for task in store.recovered.tasks}
        for task_id, (number, events) in promises(ledger).items():
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", [f"{name}:{n}" for name in POINTS for n in TIMES if n == 1 or name not in RARE]
)
def test_a_kill_at_this_point_breaks_no_promise(tmp_path: Path, point: str) -> None:
    journal, ledger = tmp_path / "journal", tmp_path / "ledger"

    assert run_workload(journal, ledger, crash_at=point) == 9, "the point was never reached"
    check(journal, ledger) if ledger.exists() else None
    assert run_workload(journal, ledger) == 0  # the next broker works on it
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
