"""Traffic from a broker's journal: every accepted task, whatever became of it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from paintmq.broker.records import Record, TaskAccepted, TaskChanged, TaskPurged
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.broker.stores.store import Entry
from paintmq.errors import ConfigError
from paintmq.fleet_simulation.description import read_description
from paintmq.fleet_simulation.journal_trace import read_journal
from paintmq.fleet_simulation.traffic import SimulatedModel
from paintmq.task import AttemptReport, PayloadInfo, TaskId, TaskRequest, TaskState
from paintmq.task_status import TaskStatus

MODELS = [SimulatedModel(name="lama", run=3.0), SimulatedModel(name="mat", run=7.0)]
START = 1_700_000_000.0


def accepted(
    number: int, model: str, at: float, priority: int = 0, tenant: str = ""
) -> TaskAccepted:
    image = PayloadInfo(name="image", size=1, digest="", kind="file", width=640, height=480)
    request = TaskRequest(
        id=TaskId(f"{number:032x}"),
        task_type="inpaint",
        model=model,
        inputs=(image,),
        priority=priority,
        tenant=tenant,
    )
    status = TaskStatus(state=TaskState.QUEUED, queue="cpu-light", accepted_at=at, rank=at)
    return TaskAccepted(request, status)


def ended(number: int, at: float, *attempts: tuple[str, float]) -> TaskChanged:
    """A task whose attempts ended like that, after so many seconds."""
    history = tuple(
        AttemptReport(
            attempt=place,
            worker="w",
            leased_at=at,
            started_at=at,
            ended_at=at + seconds,
            outcome=outcome,
        )
        for place, (outcome, seconds) in enumerate(attempts, 1)
    )
    status = TaskStatus(
        state=TaskState.SUCCEEDED, queue="cpu-light", accepted_at=at, rank=at, history=history
    )
    return TaskChanged(TaskId(f"{number:032x}"), "finish", status)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "journal", durability="process")
    store.open(lambda: None)
    yield store
    store.close()


def write(store: SqliteStore, *records: Record, after: int = 0) -> None:
    for sequence, record in enumerate(records, after + 1):
        store.append(Entry(sequence=sequence, at=START + sequence, record=record))
    while store.collect().durable_sequence < after + len(records):
        pass


RECORDS = (
    accepted(1, "lama", START, priority=5, tenant="studio"),
    accepted(2, "lama", START + 10.0),
    accepted(3, "mat", START + 20.0),
    ended(1, START, ("lost", 90.0), ("succeeded", 2.0)),
    TaskPurged(TaskId(f"{1:032x}")),
)


def test_every_accepted_task_is_read_while_the_broker_works(
    store: SqliteStore, tmp_path: Path
) -> None:
    write(store, *RECORDS)
    tasks = read_journal(tmp_path / "journal", MODELS)

    assert [(task.at, task.model, task.run) for task in tasks] == [
        (0.0, "lama", 2.0),
        (10.0, "lama", 2.0),
        (20.0, "mat", 7.0),
    ], "one ran; another is like it; of the third only the declared time is known"
    assert (tasks[0].priority, tasks[0].tenant, tasks[0].pixels) == (5, "studio", 640 * 480)
    write(store, ended(3, START + 20.0, ("succeeded", 4.0)), after=len(RECORDS))
    assert [task.run for task in read_journal(tmp_path / "journal", MODELS)] == [2.0, 2.0, 4.0]


def test_a_closed_journal_and_its_database_alone_are_read(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "journal")
    store.open(lambda: None)
    write(store, *RECORDS)
    store.close()
    files = [path for path in (tmp_path / "journal").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files if path.name != "ballast"}

    from_folder = read_journal(tmp_path / "journal", MODELS)
    assert len(from_folder) == 3
    assert read_journal(tmp_path / "journal" / "paintmq.db", MODELS) == from_folder
    after = {path: path.read_bytes() for path in files if path.name != "ballast"}
    assert after == before, "reading changes nothing"


def test_a_log_that_began_anew_while_it_was_copied_is_copied_again(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, *RECORDS)
    headers = iter([b"old", b"new", b"new", b"new"])
    log_header = "paintmq.broker.stores.log_reader._log_header"
    monkeypatch.setattr(log_header, lambda database: next(headers))
    assert len(read_journal(tmp_path / "journal", MODELS)) == 3
    assert next(headers, None) is None, "two copies were made"

    numbers = iter(range(100))
    monkeypatch.setattr(
        "paintmq.broker.stores.log_reader._log_header",
        lambda database: str(next(numbers)).encode(),
    )
    with pytest.raises(ConfigError, match="paintmq backup"):
        read_journal(tmp_path / "journal", MODELS)


def test_what_is_no_journal_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no journal: there is no paintmq\.db"):
        read_journal(tmp_path, MODELS)
    (tmp_path / "paintmq.db").write_bytes(b"something else, and long enough to be looked at" * 99)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_journal(tmp_path, MODELS)


def test_a_record_that_the_disk_changed_is_passed_over(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "journal")
    store.open(lambda: None)
    write(store, *RECORDS)
    store.close()
    with sqlite3.connect(tmp_path / "journal" / "paintmq.db") as database:
        database.execute("UPDATE log SET record = x'00' WHERE sequence = 2")
    database.close()

    assert [task.at for task in read_journal(tmp_path / "journal", MODELS)] == [0.0, 20.0]


def test_a_description_takes_its_tasks_from_a_journal(store: SqliteStore, tmp_path: Path) -> None:
    write(store, *RECORDS)
    description = tmp_path / "fleet.toml"
    description.write_text(
        '[[models]]\nname = "lama"\n[[models]]\nname = "mat"\n[[workers]]\nname = "gpu"\n'
    )
    traffic = read_description(description, journal=tmp_path / "journal").traffic
    assert [task.model for task in traffic.tasks] == ["lama", "lama", "mat"]

    description.write_text('[[models]]\nname = "lama"\n[[workers]]\nname = "gpu"\n')
    with pytest.raises(ConfigError, match=r"'mat', which is none of \[\[models\]\]: lama"):
        read_description(description, journal=tmp_path / "journal")
