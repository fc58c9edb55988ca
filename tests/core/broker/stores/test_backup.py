"""Backups of a journal that is in use."""

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from paintmq.broker.records import TaskPurged
from paintmq.broker.stores import BackupState, database
from paintmq.broker.stores.backup import Backup
from paintmq.broker.stores.blobs import digest_in
from paintmq.broker.stores.memory import MemoryStore
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.digests import digest_of
from paintmq.errors import StoreError
from paintmq.testing.example_tasks import PATIENCE
from paintmq.testing.store_contract import OpenStore, accepted, finished

SMALL = b"small"
LARGE = b"large " * 100_000
OTHER = b"other " * 100_000


@contextmanager
def opened(folder: Path) -> Iterator[OpenStore]:
    store = OpenStore(SqliteStore(folder, durability="process"))
    try:
        yield store
    finally:
        with suppress(StoreError):  # where a test let it fail
            store.store.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OpenStore]:
    with opened(tmp_path / "journal") as store:
        yield store


def ended(store: OpenStore, path: Path) -> BackupState:
    """Wait for the end of the backup to that path."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        state = store.store.back_up(path)
        if state.state != "running":
            return state
        pause.wait(0.01)
    raise AssertionError(f"the backup does not end: {state}")


def files_of(journal: Path, data: bytes) -> list[Path]:
    """Return the payload files with this content."""
    digest = digest_of(data)
    return [path for path in journal.glob("blobs/??/*") if digest_in(path.name) == digest]


def file_of(journal: Path, data: bytes) -> Path:
    (found,) = files_of(journal, data)
    return found


def test_a_backup_is_a_journal_with_everything_in_it(store: OpenStore, tmp_path: Path) -> None:
    task, done = accepted("1", SMALL, LARGE), accepted("2", OTHER)
    store.write(task, SMALL, LARGE)
    store.write(done, OTHER)
    store.write(finished(done, LARGE), LARGE)
    store.collect_until()

    state = ended(store, tmp_path / "copy")

    assert (state.state, state.sequence, state.tasks, state.files) == ("done", 3, 2, 2)
    assert state.damaged == 0
    found = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert {path.name for path in found} == {
        "paintmq.db",
        "sequence",
        *(path.name for path in files_of(tmp_path / "journal", LARGE)),
    }
    assert sum(path.stat().st_size for path in found) == state.size + 16
    shutil.rmtree(tmp_path / "journal" / "blobs")  # the copy needs nothing of it
    with opened(tmp_path / "copy") as copy:
        assert copy.recovered.durable_sequence == 3
        assert [each.request.id for each in copy.recovered.tasks] == [
            task.request.id,
            done.request.id,
        ]
        assert not copy.recovered.damaged
        assert copy.fetch(task.request, "in", "0") == SMALL
        assert copy.fetch(task.request, "in", "1") == LARGE
        assert copy.fetch(done.request, "out", "0") == LARGE


def test_the_journal_is_written_on_during_a_backup(
    store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PAGES_A_STEP", 1)
    for number in range(50):
        store.write(accepted(f"{number}", bytes(20_000)), bytes(20_000))
    store.collect_until()
    commits: list[int] = []
    committed = database.Database.commit

    def commit(self: database.Database) -> None:
        commits.append(1)
        committed(self)

    monkeypatch.setattr(database.Database, "commit", commit)
    copied = database.Database.copy_to

    def copy_to(self: database.Database, path: Path, *, between: Callable[[], None]) -> None:
        # After each of the first steps another task comes, and is durable before the next step.
        left = iter(range(5))

        def step() -> None:
            if (number := next(left, None)) is not None:
                store.write(accepted(f"9{number}", SMALL), SMALL)
            between()

        copied(self, path, between=step)
        assert len(commits) == 5, "commits waited for the backup's end"

    monkeypatch.setattr(database.Database, "copy_to", copy_to)

    state = ended(store, tmp_path / "copy")

    assert (state.tasks, state.sequence) == (55, 55)
    with opened(tmp_path / "copy") as copy:
        assert len(copy.recovered.tasks) == 55


class SlowFiles:
    """Lets files be copied only when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        copy = Backup._copy

        def slow_copy(backup: Backup, source: Path, digest: str) -> int | None:
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
            return copy(backup, source, digest)

        monkeypatch.setattr(Backup, "_copy", slow_copy)

    def wait(self) -> None:
        assert self.begun.wait(PATIENCE)


def test_a_file_that_the_backup_needs_stays_until_it_was_copied(
    store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SlowFiles(monkeypatch)
    task = accepted("1", LARGE)
    store.write(task, LARGE)
    store.collect_until()
    store.store.back_up(tmp_path / "copy")
    files.wait()
    store.write(TaskPurged(task.request.id))
    store.collect_until()
    files.go_on.set()

    assert ended(store, tmp_path / "copy").files == 1
    original = file_of(tmp_path / "journal", LARGE)
    store.write(accepted("2"))  # the next commit clears up
    store.collect_until()
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.01)):
        if not original.exists():
            break
        pause.wait(0.01)
    assert not original.exists()


def test_one_backup_at_a_time(
    store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SlowFiles(monkeypatch)
    store.write(accepted("1", LARGE), LARGE)
    store.collect_until()
    assert store.store.back_up(tmp_path / "copy").state == "running"
    files.wait()

    with pytest.raises(StoreError, match=f"a backup to {tmp_path}/copy is under way"):
        store.store.back_up(tmp_path / "another")

    files.go_on.set()
    assert ended(store, tmp_path / "copy").state == "done"
    assert ended(store, tmp_path / "another").state == "done"


def test_a_place_that_is_taken_or_cannot_be_used_is_refused_in_words(
    store: OpenStore, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    for path, words in (
        (tmp_path / "taken", "something at .*/taken already"),
        (tmp_path / "no" / "such" / "folder", "cannot be made: No such file"),
        (Path("somewhere"), "not an absolute path"),
    ):
        with pytest.raises(StoreError, match=words):
            store.store.back_up(path)


def test_what_is_damaged_in_the_journal_is_told_and_left_out(
    store: OpenStore, tmp_path: Path
) -> None:
    third = b"third " * 100_000
    for name, data in (("1", LARGE), ("2", OTHER), ("3", third)):
        store.write(accepted(name, data), data)
    store.collect_until()
    piped = file_of(tmp_path / "journal", third)
    file_of(tmp_path / "journal", LARGE).unlink()
    file_of(tmp_path / "journal", OTHER).write_bytes(LARGE)
    piped.unlink()
    os.mkfifo(piped)  # whoever opens it waits for its other end

    state = ended(store, tmp_path / "copy")

    assert (state.state, state.files, state.damaged) == ("done", 0, 3)


def test_a_backup_that_fails_harms_nothing_but_itself(
    store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(self: Backup, source: Path, digest: str) -> int | None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def unwilling(*arguments: object, **more: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    store.write(accepted("1", LARGE), LARGE)
    store.collect_until()
    with monkeypatch.context() as patched:
        patched.setattr(Backup, "_copy", no_room)
        assert "No space left" in ended(store, tmp_path / "first").error
    with monkeypatch.context() as patched:
        patched.setattr(database.Database, "copy_to", unwilling)
        assert ended(store, tmp_path / "second").error == "disk I/O error"

    store.write(accepted("2", SMALL), SMALL)
    store.collect_until()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal"]


def test_a_copy_that_is_damaged_is_not_kept(
    store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_badly(self: object, path: Path, **more: object) -> None:
        path.write_bytes(b"these are my holiday notes " * 1000)

    monkeypatch.setattr(database.Database, "copy_to", copy_badly)

    assert "not a database" in ended(store, tmp_path / "copy").error
    assert not (tmp_path / "copy").exists()


def test_trouble_of_the_journal_itself_ends_the_store_and_not_only_the_backup(
    store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(accepted("1", SMALL), SMALL)
    store.collect_until()
    begun, go_on = threading.Event(), threading.Event()
    copied = database.Database.copy_to

    def copy_to(self: database.Database, path: Path, *, between: Callable[[], None]) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)
        copied(self, path, between=between)

    def fail(self: database.Database) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(database.Database, "copy_to", copy_to)
    monkeypatch.setattr(database.Database, "commit", fail)
    store.store.back_up(tmp_path / "copy")
    assert begun.wait(PATIENCE)
    store.write(accepted("2"))
    go_on.set()

    with pytest.raises(StoreError, match="cannot be written: disk I/O error"):
        store.collect_until()


def test_closing_ends_a_backup_and_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SlowFiles(monkeypatch)
    store = SqliteStore(tmp_path / "journal", durability="process")
    used = OpenStore(store)
    used.write(accepted("1", LARGE, OTHER), LARGE, OTHER)
    used.collect_until()
    store.back_up(tmp_path / "copy")
    files.wait()
    assert store._writer is not None
    backup = store._writer._backup
    assert backup is not None
    closing = threading.Thread(target=store.close)
    closing.start()
    assert backup._given_up.wait(PATIENCE)
    files.go_on.set()
    closing.join(PATIENCE)

    assert not closing.is_alive()
    assert backup.state.error == "the broker stopped meanwhile"
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]


def test_a_journal_in_memory_has_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="in memory"):
        MemoryStore().back_up(tmp_path / "copy")
