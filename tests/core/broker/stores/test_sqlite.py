"""The durable store on a real disk: recovery, refusals, purging, full disks and failing ones."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from paintmq.broker.records import TaskPurged
from paintmq.broker.stores import blobs as blobs_module
from paintmq.broker.stores import folder as folder_module
from paintmq.broker.stores import payload_file, upkeep
from paintmq.broker.stores.blobs import BlobFolder, digest_in
from paintmq.broker.stores.database import DATABASE_NAME
from paintmq.broker.stores.rows import checksum
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.digests import digest_of
from paintmq.errors import StoreError
from paintmq.task import TaskState
from paintmq.testing.store_contract import OpenStore, StoreContract, accepted, changed, finished

LARGE = b"large " * 100_000
OTHER = b"other " * 100_000


class TestFull(StoreContract):
    def make(self, tmp_path: Path) -> SqliteStore:
        return SqliteStore(tmp_path / "journal", durability="full")


class TestProcess(StoreContract):
    def make(self, tmp_path: Path) -> SqliteStore:
        return SqliteStore(tmp_path / "journal", durability="process")


def opened(tmp_path: Path, **options: object) -> OpenStore:
    return OpenStore(SqliteStore(tmp_path, durability="process", **options))  # type: ignore[arg-type]


def files(tmp_path: Path) -> list[str]:
    """The payload files in the journal."""
    return sorted(path.name for path in (tmp_path / "blobs").glob("??/*"))


def database_of(store: OpenStore) -> sqlite3.Connection:
    assert isinstance(store.store, SqliteStore)
    assert store.store._database is not None
    return store.store._database._connection


# ---- refusals ----------------------------------------------------------------------------------


def test_a_journal_is_its_owners_alone_in_whatever_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    store = opened(tmp_path)
    store.write(accepted("1", b"small", LARGE), b"small", LARGE)
    modes = {
        path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()
    }
    store.store.close()

    assert DATABASE_NAME in modes
    assert {name: mode for name, mode in modes.items() if mode != 0o600} == {}


def test_a_second_store_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(StoreError, match=f"in use by another broker .process {os.getpid()}"):
        opened(tmp_path)
    first.store.close()
    opened(tmp_path).store.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.write(accepted("1"))
    store.store.close()
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = (tmp_path / DATABASE_NAME).read_bytes()

    with pytest.raises(StoreError, match=r"newer PaintMQ .schema 999"):
        opened(tmp_path)
    assert (tmp_path / DATABASE_NAME).read_bytes() == before


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(b"these are my holiday notes " * 1000)

    with pytest.raises(StoreError, match="cannot be read"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot be opened"):
        opened(tmp_path / "file" / "journal")


def test_a_database_in_other_hands_is_refused_in_words(tmp_path: Path) -> None:
    opened(tmp_path).store.close()
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="in use by another program"):
        opened(tmp_path)
    connection.close()


@pytest.mark.parametrize("durability", ["full", "process"])
def test_a_database_that_went_back_in_time_is_noticed(tmp_path: Path, durability: str) -> None:
    store = OpenStore(SqliteStore(tmp_path, durability=durability))  # type: ignore[arg-type]
    store.write(accepted("1"))
    store.store.close()
    backup = (tmp_path / DATABASE_NAME).read_bytes()
    store = OpenStore(SqliteStore(tmp_path, durability=durability))  # type: ignore[arg-type]
    store.write(accepted("2"))
    store.write(accepted("3"))
    store.store.close()
    (tmp_path / DATABASE_NAME).write_bytes(backup)

    if durability == "full":
        with pytest.raises(StoreError, match="2 records are lost"):
            OpenStore(SqliteStore(tmp_path, durability="full"))
    accepting = OpenStore(
        SqliteStore(tmp_path, durability=durability, accept_data_loss=True)  # type: ignore[arg-type]
    )
    assert "2 records are lost" in accepting.recovered.notes[0]
    assert accepting.recovered.durable_sequence == 1  # clients see that it went back
    accepting.store.close()


# ---- space -------------------------------------------------------------------------------------


def test_purging_a_task_removes_its_files(tmp_path: Path) -> None:
    store = opened(tmp_path)
    task = accepted("1", LARGE)
    store.write(task, LARGE)
    store.collect_until()
    with_input = files(tmp_path)
    store.write(finished(task, OTHER), OTHER)
    store.write(changed(task, TaskState.SUCCEEDED, outputs=(), acknowledged_at=1.0))
    store.store.close()
    with_output = files(tmp_path)
    store = opened(tmp_path)
    store.write(TaskPurged(task.request.id))
    store.store.close()

    assert len(with_input) == len(with_output) == 1
    assert with_input != with_output
    assert files(tmp_path) == []


def test_payloads_with_equal_digests_do_not_share_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I22: digests of payloads are fast, so other bytes with the same one can be made."""
    forged = LARGE[:-1] + b"?"
    write = payload_file.write_payload

    def forge(descriptor: int, data: bytes, *, past_cache: bool) -> str:
        write(descriptor, data, past_cache=past_cache)
        return "xxh3:" + "0" * 32

    monkeypatch.setattr(blobs_module, "write_payload", forge)
    monkeypatch.setattr(blobs_module, "matches", lambda digest, _: digest == "xxh3:" + "0" * 32)
    store = opened(tmp_path)
    one, two = accepted("1", LARGE), accepted("2", forged)
    store.write(one, LARGE)
    store.write(two, forged)
    store.collect_until()
    store.store.close()
    store = opened(tmp_path)

    assert store.fetch(one.request, "in", "0") == LARGE
    assert store.fetch(two.request, "in", "0") == forged
    store.write(TaskPurged(one.request.id))
    store.collect_until()
    assert store.fetch(two.request, "in", "0") == forged
    store.write(TaskPurged(two.request.id))
    store.store.close()
    assert files(tmp_path) == []


def test_a_journal_of_schema_1_is_read_with_the_files_that_its_tasks_share(tmp_path: Path) -> None:
    """Its digests are SHA-256, which alone name its files."""
    store = opened(tmp_path)
    one, two = accepted("1", LARGE, b"small"), accepted("2", LARGE)
    store.write(one, LARGE, b"small")
    store.write(two, LARGE)
    store.store.close()
    make_schema_1(tmp_path, {LARGE, b"small"})
    assert len(files(tmp_path)) == 1
    store = opened(tmp_path)

    assert store.fetch(one.request, "in", "0") == LARGE
    assert store.fetch(one.request, "in", "1") == b"small"
    store.write(TaskPurged(one.request.id))
    store.collect_until()
    assert store.fetch(two.request, "in", "0") == LARGE
    assert database_of(store).execute("PRAGMA user_version").fetchone() == (2,)
    store.write(TaskPurged(two.request.id))
    store.store.close()
    assert files(tmp_path) == []


def make_schema_1(journal: Path, contents: set[bytes]) -> None:
    """Write digests, checksums and files anew as schema 1 had them."""
    sha = {digest_of(data): digest_of(data, cryptographic=True) for data in contents}
    with closing(sqlite3.connect(journal / DATABASE_NAME)) as connection:
        for rowid, task, direction, name, size, digest, inline in connection.execute(
            "SELECT rowid, task, direction, name, size, digest, data IS NOT NULL FROM payload"
        ).fetchall():
            old = sha[digest_in(digest)]
            names = (task, direction, name, str(size), old, str(bool(inline)))
            connection.execute(
                "UPDATE payload SET digest = ?, row_check = ? WHERE rowid = ?",
                (old, checksum(*(each.encode() for each in names)), rowid),
            )
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    for path in (journal / "blobs").glob("??/*"):
        old = sha[digest_in(path.name)]
        (journal / "blobs" / old[:2]).mkdir(exist_ok=True)
        path.rename(journal / "blobs" / old[:2] / old)


def test_a_file_that_no_row_names_yet_stays_while_it_is_pinned(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path, sync=False)
    name = blobs.write(LARGE)
    blobs.remove([name], is_named=lambda _: False)  # pinned: its record is on the way
    assert bytes(blobs.read(name, len(LARGE)) or b"") == LARGE
    blobs.unpin([name])
    blobs.remove([name], is_named=lambda _: False)
    assert blobs.read(name, len(LARGE)) is None


def test_the_sweep_removes_old_files_that_belong_to_nobody_and_no_others(tmp_path: Path) -> None:
    store = opened(tmp_path)
    task = accepted("1", LARGE)
    store.write(task, LARGE)
    store.store.close()
    lost, fresh = tmp_path / "blobs" / "ab" / ("ab" * 32), tmp_path / "blobs" / "new" / "1-1"
    for path in (lost, fresh):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left by a crash")
    owned = tmp_path / "blobs" / files(tmp_path)[-1][:2]
    for path in (lost, *owned.iterdir()):
        os.utime(path, (0, 0))
    blobs = BlobFolder(tmp_path / "blobs", sync=False)
    store = opened(tmp_path)
    named = [path.name for path in owned.iterdir() if path != lost]

    assert blobs.sweep(is_named=lambda digest: digest in named) <= 1
    store.store.close()
    assert not lost.exists()
    assert fresh.exists()
    store = opened(tmp_path)
    assert store.fetch(task.request, "in", "0") == LARGE
    store.store.close()


def test_the_log_is_pruned_after_a_week_but_never_its_last_record(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(5):
        store.write(accepted(str(number)), at=1000.0)
    store.write(accepted("5"), at=1000.0 + 8 * 86_400)
    store.collect_until()
    store.store.close()
    store = opened(tmp_path)
    store.write(accepted("6"), at=1000.0 + 20 * 86_400)
    store.collect_until()
    connection = database_of(store)
    for _ in range(1000):
        left = [row[0] for row in connection.execute("SELECT sequence FROM log")]
        if left == [7]:
            break
        store._woken.wait(0.02)

    assert left == [7]
    store.store.close()
    again = opened(tmp_path)
    assert again.recovered.durable_sequence == 7
    assert len(again.recovered.tasks) == 7
    again.store.close()


def test_the_log_of_a_broker_that_is_never_idle_is_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I14: a busy broker would otherwise fill its disk with what it did."""
    monkeypatch.setattr(upkeep, "LOG_KEPT_RECORDS", 50)
    monkeypatch.setattr(upkeep.Upkeep, "do_one", lambda *_, **__: None)
    store = opened(tmp_path)
    connection = database_of(store)
    for number in range(40):
        for each in range(10):
            store.write(accepted(f"{number}{each}"))
        store.collect_until()

    kept = [row[0] for row in connection.execute("SELECT sequence FROM log ORDER BY sequence")]
    assert kept == list(range(kept[0], 401))
    assert len(kept) <= 50 + 10
    store.store.close()
    again = opened(tmp_path)
    assert len(again.recovered.tasks) == 400
    assert again.recovered.notes == ()
    again.store.close()


def test_records_that_are_missing_in_the_log_are_told(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(9):
        store.write(accepted(str(number)))
    store.collect_until()
    store.store.close()
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute("DELETE FROM log WHERE sequence IN (3, 5)")

    again = opened(tmp_path)
    assert again.recovered.notes == ("the log lacks 2 records",)
    again.store.close()


def test_a_scarce_disk_is_reported_and_work_goes_on(tmp_path: Path) -> None:
    store = opened(tmp_path, watermark=1 << 60)
    store.collect_disk_full(full=True)
    store.write(accepted("1"))

    assert store.collect_until().durable_sequence == 1
    store.store.close()


def test_a_full_database_waits_for_room_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "BALLAST_BYTES", 4096)
    store = opened(tmp_path, watermark=0)
    first = accepted("0")
    store.write(first)
    store.collect_until()
    connection = database_of(store)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    tasks = [accepted(str(number), b"x" * 5000) for number in range(1, 20)]
    for task in tasks:
        store.write(task, b"x" * 5000)
    store.collect_disk_full(full=True)
    assert store.store.collect().durable_sequence < store.sequence
    connection.execute("PRAGMA max_page_count = 1000000")

    store.collect_until()
    store.collect_disk_full(full=False)
    store.store.close()
    again = opened(tmp_path)
    assert [task.request.id for task in again.recovered.tasks] == [
        task.request.id for task in (first, *tasks)
    ]
    again.store.close()


def test_the_ballast_is_given_back_when_the_disk_is_full(tmp_path: Path) -> None:
    store = opened(tmp_path, watermark=0)
    assert isinstance(store.store, SqliteStore)
    folder = store.store._folder
    assert folder is not None
    folder.fill_ballast(1 << 20)
    size = (tmp_path / "ballast").stat().st_size

    assert size == 1 << 20
    assert folder.release_ballast()
    assert not (tmp_path / "ballast").exists()
    assert not folder.release_ballast()
    store.store.close()


def test_a_payload_that_found_the_disk_full_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write, refusals = os.write, iter(range(3))

    def write(descriptor: int, data: object) -> int:
        if next(refusals, None) is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(descriptor, data)  # type: ignore[arg-type]

    store = opened(tmp_path, watermark=0)
    monkeypatch.setattr(os, "write", write)
    task = accepted("1", LARGE)
    store.write(task, LARGE)
    store.collect_until()
    monkeypatch.undo()

    assert store.fetch(task.request, "in", "0") == LARGE
    assert list((tmp_path / "blobs" / "new").iterdir()) == []
    store.store.close()


def test_closing_while_the_disk_is_full_says_that_something_was_not_stored(
    tmp_path: Path,
) -> None:
    store = opened(tmp_path, watermark=0)
    store.write(accepted("0"))
    store.collect_until()
    connection = database_of(store)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(1, 20):
        store.write(accepted(str(number), b"x" * 5000), b"x" * 5000)
    store.collect_disk_full(full=True)

    with pytest.raises(StoreError, match="full"):
        store.store.close()
    again = opened(tmp_path)
    assert again.recovered.durable_sequence == 1
    again.store.close()


# ---- a disk that fails -------------------------------------------------------------------------


def test_a_failed_fsync_ends_the_store_and_is_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = OpenStore(SqliteStore(tmp_path, durability="full"))
    store.write(accepted("0"))
    store.collect_until()
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    store.write(accepted("1", LARGE), LARGE)
    with pytest.raises(StoreError, match="Input/output error"):
        store.collect_until()
    monkeypatch.undo()
    with pytest.raises(StoreError):
        store.store.close()

    assert len(calls) == 1
    again = OpenStore(SqliteStore(tmp_path, durability="full"))
    assert again.recovered.durable_sequence == 1
    assert len(again.recovered.tasks) == 1
    again.store.close()


def test_the_audit_log_is_readable_without_our_code(tmp_path: Path) -> None:
    store = opened(tmp_path)
    task = accepted("1")
    store.write(task)
    store.write(replace(finished(task), event="finish"))
    store.store.close()
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    rows = connection.execute(
        "SELECT record ->> 'record', record ->> 'task_id', record ->> '$.status.state' FROM log"
    ).fetchall()
    connection.close()

    assert rows == [
        ("TaskAccepted", task.request.id, "queued"),
        ("TaskChanged", task.request.id, "succeeded"),
    ]
