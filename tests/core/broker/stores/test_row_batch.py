"""One commit of many records leaves what as many commits would."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from paintmq.broker.records import (
    BrokerBooted,
    Record,
    StoredTask,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
    apply_records,
)
from paintmq.broker.stores.database import VARIABLES, Database
from paintmq.broker.stores.row_batch import NewPayload, RowBatch
from paintmq.broker.stores.rows import decode_record, decode_request, decode_status
from paintmq.broker.stores.store import Direction, Entry, PayloadKey
from paintmq.digests import digest_of
from paintmq.task import TaskId, TaskState
from paintmq.task_status import TaskStatus
from paintmq.testing.example_tasks import make_request

Written = tuple[Entry, list[NewPayload]]
QUEUED = TaskStatus(state=TaskState.QUEUED, queue="q", accepted_at=1.0, rank=1.0)


def payload(task_id: TaskId, direction: Direction, number: int) -> NewPayload:
    """Return one whose data is in the row, or (an even number) in a file."""
    data = f"payload {number}".encode()
    digest = digest_of(data)
    key = PayloadKey(task_id, direction, f"name-{number % 3}")
    return NewPayload(key, len(data), digest, data if number % 2 else None)


def lives(rng: random.Random, count: int) -> list[Written]:
    """Return records of tasks that come, change, end, are purged and come again."""
    written: list[Written] = []
    known: dict[TaskId, TaskStatus] = {}

    def write(record: Record, *payloads: NewPayload) -> None:
        written.append((Entry(len(written) + 1, 1.0 + len(written), record), list(payloads)))

    write(BrokerBooted(7, 1.0))
    while len(written) < count:
        request = make_request(f"{rng.randrange(12):x}")
        status = known.get(request.id)
        if status is None:
            known[request.id] = QUEUED
            brought = (payload(request.id, "in", rng.randrange(9)) for _ in range(2))
            write(TaskAccepted(request, QUEUED), *brought)
        elif status.state in (TaskState.SUCCEEDED, TaskState.DEAD):
            del known[request.id]
            write(TaskPurged(request.id))
        else:
            states = [TaskState.LEASED, TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.DEAD]
            changed = status.changed(state=rng.choice(states), attempt=len(written))
            known[request.id] = changed
            is_done = changed.state is TaskState.SUCCEEDED
            made = [payload(request.id, "out", rng.randrange(9))] if is_done else []
            write(TaskChanged(request.id, "lease", changed), *made)
    return written


def write_all(path: Path, batches: Iterable[Sequence[Written]]) -> tuple[Database, set[str]]:
    database, freed = Database(path, synchronous="NORMAL"), set[str]()
    for batch in batches:
        rows = RowBatch()
        for entry, payloads in batch:
            rows.add(entry, payloads)
        database.begin()
        freed |= set(database.write(rows))
        database.commit()
    return database, freed


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    run = database._connection.execute
    return {
        table: sorted(run(f"SELECT * FROM {table}").fetchall(), key=repr)
        for table in ("task", "payload", "log")
    }


@pytest.mark.parametrize("seed", range(12))
def test_how_records_are_shared_out_among_commits_changes_nothing_that_is_stored(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    written = lives(rng, 120)
    cuts = sorted(rng.sample(range(1, len(written)), 6))
    parts = [written[a:b] for a, b in zip([0, *cuts], [*cuts, len(written)], strict=True)]

    one_by_one, _ = write_all(tmp_path / "one", ([each] for each in written))
    together, freed = write_all(tmp_path / "many", parts)

    assert contents(together) == contents(one_by_one)
    assert together.missing_log_rows() == 0
    expected: dict[TaskId, StoredTask] = {}
    apply_records(expected, [entry.record for entry, _ in written])
    stored = {
        row.task_id: (decode_request(row.request or b""), decode_status(row.status or b""))
        for row in together.tasks()
    }
    assert stored == {key: (task.request, task.status) for key, task in expected.items()}
    named = {new.digest for _, payloads in written for new in payloads if new.data is None}
    assert {name for name in named if not together.names_file(name)} <= freed
    records = together._connection.execute("SELECT record FROM log ORDER BY sequence").fetchall()
    assert [decode_record(data) for (data,) in records] == [entry.record for entry, _ in written]
    one_by_one.close()
    together.close()


def test_more_tasks_than_one_statement_can_name_are_forgotten_together(tmp_path: Path) -> None:
    tasks = [make_request(f"{number:x}") for number in range(2 * VARIABLES + 3)]
    came = [
        (Entry(n, 1.0, TaskAccepted(task, QUEUED)), [payload(task.id, "in", 2)])
        for n, task in enumerate(tasks, 1)
    ]
    went = [
        (Entry(len(tasks) + n, 2.0, TaskChanged(task.id, "finish", done())), list[NewPayload]())
        for n, task in enumerate(tasks, 1)
    ]
    database, freed = write_all(tmp_path / "db", [came, went])

    assert contents(database)["payload"] == []
    assert freed == {payload(tasks[0].id, "in", 2).digest}
    database.close()


def done() -> TaskStatus:
    return QUEUED.changed(state=TaskState.SUCCEEDED)
