"""No more files can be opened: the journal waits, and nothing that was promised is lost."""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from paintmq.broker.stores.disk_space import lacks_files
from paintmq.broker.stores.exhaustion import Shortage
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.sqlite import SqliteStore
from paintmq.errors import StoreError
from paintmq.testing.store_contract import OpenStore, accepted

LARGE = b"large " * 100_000


class Files:
    """Refuses to open some files, as if the process had too many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: list[str] = []
        self._what = ""
        self._left = 0
        self._folders = False
        self._open, self._open_path = os.open, Path.open
        monkeypatch.setattr(os, "open", self._os_open)
        monkeypatch.setattr(Path, "open", lambda *call, **more: self._path_open(*call, **more))

    def refuse(self, what: str, *, times: int) -> None:
        """Refuse what has this in its path, so many times."""
        self._what, self._left = what, times

    def refuse_folders(self) -> None:
        """Refuse to open any folder."""
        self._what, self._left, self._folders = "blobs", 1_000_000, True

    def _check(self, path: object) -> None:
        if self._folders and not Path(str(path)).is_dir():
            return
        if self._left and self._what in str(path):
            self._left -= 1
            self.refused.append(str(path))
            raise OSError(errno.EMFILE, "Too many open files")

    def _os_open(self, path: Any, *arguments: Any, **more: Any) -> int:
        self._check(path)
        return self._open(path, *arguments, **more)

    def _path_open(self, path: Path, *arguments: Any, **more: Any) -> Any:
        self._check(path)
        return self._open_path(path, *arguments, **more)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr("paintmq.broker.stores.exhaustion.RETRY_SECONDS", 0.001)
    return Files(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> OpenStore:
    return OpenStore(SqliteStore(tmp_path, durability="full", watermark=0))


@pytest.mark.parametrize("what", ["blobs/new/", "blobs/"])
def test_a_payload_for_which_no_file_can_be_opened_is_kept_in_the_database(
    tmp_path: Path, store: OpenStore, files: Files, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its file, nor the folder whose names are made durable; nobody has to wait."""
    files.refuse(what, times=1_000_000)
    tasks = [accepted(number, LARGE) for number in ("1", "2")]
    for task in tasks:
        store.write(task, LARGE)
    store.collect_until()

    assert files.refused
    assert store.fetch(tasks[0].request, "in", "0") == LARGE
    said = [each for each in caplog.messages if "can open no more files" in each]
    assert len(said) == 1, "once, not each time"
    assert "raise the limit of open files" in said[0]
    store.store.close()
    files.refuse("", times=0)
    again = OpenStore(SqliteStore(tmp_path, durability="full", watermark=0))
    assert again.fetch(tasks[1].request, "in", "0") == LARGE
    again.store.close()


def test_a_payload_whose_folder_alone_cannot_be_opened_is_kept_in_the_database(
    store: OpenStore, files: Files
) -> None:
    """Its file is there, but its name would not survive a power loss."""
    files.refuse_folders()
    task = accepted("1", LARGE)
    store.write(task, LARGE)
    store.collect_until()

    assert files.refused
    assert database_keeps(store, LARGE)
    store.store.close()


def database_keeps(store: OpenStore, data: bytes) -> bool:
    assert isinstance(store.store, SqliteStore)
    assert store.store._database is not None
    rows = store.store._database._connection.execute("SELECT data FROM payload").fetchall()
    return rows == [(data,)]


def test_a_payload_that_cannot_be_read_for_want_of_files_is_not_lost(
    store: OpenStore, files: Files
) -> None:
    """Whoever waits for it would be told that the broker lost it."""
    task = accepted("1", LARGE)
    store.write(task, LARGE)
    store.collect_until()
    files.refuse("blobs/", times=5)

    assert store.fetch(task.request, "in", "0") == LARGE
    assert len(files.refused) == 5
    store.store.close()


def test_no_space_is_set_aside_while_no_file_can_be_opened(tmp_path: Path, files: Files) -> None:
    folder = StoreFolder.open(tmp_path)
    files.refuse("ballast", times=1)
    folder.fill_ballast(4096)
    assert not (tmp_path / "ballast").exists()

    folder.fill_ballast(4096)
    assert (tmp_path / "ballast").stat().st_size == 4096
    folder.close()


def test_whoever_waits_for_a_file_waits_no_longer_once_the_journal_is_closed(
    tmp_path: Path,
) -> None:
    folder = StoreFolder.open(tmp_path)
    shortage = Shortage(folder, watermark=0, wake=lambda: None)
    shortage.end()

    def fail() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(StoreError, match=r"can open no more files: what was not stored yet is"):
        shortage.with_files(fail)
    folder.close()


def test_sqlite_cannot_open_for_other_reasons_too(files: Files) -> None:
    """A folder that is gone is a failure, not a shortage."""
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    other = sqlite3.OperationalError("disk I/O error")
    other.sqlite_errorcode = sqlite3.SQLITE_IOERR

    assert not lacks_files(error)
    files.refuse(os.devnull, times=9)
    assert lacks_files(error)
    assert not lacks_files(other)
    assert lacks_files(OSError(errno.ENFILE, "of the whole system"))
    assert not lacks_files(OSError(errno.EIO, "of the disk"))


def test_a_failure_that_is_no_shortage_is_never_tried_again(tmp_path: Path) -> None:
    folder = StoreFolder.open(tmp_path)
    shortage = Shortage(folder, watermark=0, wake=lambda: None)
    tried: list[int] = []

    def fail() -> None:
        tried.append(1)
        raise OSError(errno.EIO, "Input/output error")

    for action in (shortage.with_files, shortage.with_space):
        with pytest.raises(OSError, match="Input/output error"):
            action(fail)
    assert len(tried) == 2
    folder.close()


def failed_write() -> sqlite3.OperationalError:
    """Return what SQLite says of a write that failed, whatever the reason."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    return error


def test_a_quota_that_is_used_up_is_waited_for_like_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("paintmq.broker.stores.exhaustion.RETRY_SECONDS", 0.001)
    folder = StoreFolder.open(tmp_path)
    tries, takes_data = iter([failed_write(), failed_write(), None]), iter([False, False])
    monkeypatch.setattr(StoreFolder, "takes_data", lambda self: next(takes_data))
    shortage = Shortage(folder, watermark=0, wake=lambda: None)

    def commit() -> str:
        if (error := next(tries)) is not None:
            raise error
        return "committed"

    assert shortage.with_space(commit) == "committed"
    assert shortage.disk_full
    assert "is full: new tasks are refused" in caplog.text
    folder.close()


def test_a_write_that_failed_on_a_disk_with_room_is_never_tried_again(tmp_path: Path) -> None:
    folder = StoreFolder.open(tmp_path)
    shortage = Shortage(folder, watermark=0, wake=lambda: None)
    tried: list[object] = []

    def commit() -> None:
        tried.append(None)
        raise failed_write()

    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        shortage.with_space(commit)
    assert len(tried) == 1
    folder.close()
