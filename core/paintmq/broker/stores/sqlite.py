"""The durable store: SQLite with one writer thread, large payloads as files beside it."""

import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

from paintmq.broker.records import Recovered, StoredTask
from paintmq.broker.stores.blobs import BlobFolder
from paintmq.broker.stores.database import (
    DATABASE_NAME,
    VARIABLES,
    Database,
    StoredPayload,
)
from paintmq.broker.stores.disk_space import DiskSpace, is_full
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.restoring import restore
from paintmq.broker.stores.store import BackupState, Collected, Entry, PayloadKey, Store
from paintmq.broker.stores.story import StoryLine
from paintmq.broker.stores.writer import Writer
from paintmq.errors import StoreError
from paintmq.task import PayloadInfo, TaskId
from paintmq.user_folders import refused

logger = logging.getLogger(__name__)


class SqliteStore(Store):
    """A journal folder on a local disk."""

    keeps_payloads: ClassVar[bool] = True

    def __init__(
        self,
        path: Path,
        *,
        durability: Literal["full", "process"] = "full",
        accept_data_loss: bool = False,
        watermark: int | None = None,
    ) -> None:
        """``full`` survives a power loss, ``process`` a killed broker. ``accept_data_loss`` opens a
        journal that is known to have lost records. ``watermark``: bytes that must stay free.
        """
        self._path = path
        self._sync = durability == "full"
        self._accept_data_loss = accept_data_loss
        self._watermark = watermark
        self._folder: StoreFolder | None = None
        self._database: Database | None = None
        self._writer: Writer | None = None

    def open(self, wake: Callable[[], None]) -> Recovered:
        self._folder = StoreFolder.open(self._path)
        blobs = BlobFolder(self._path / "blobs", sync=self._sync)
        try:
            database, recovered = self._read_journal(self._folder, blobs)
        except (sqlite3.Error, OSError) as error:
            self._close_files()
            raise StoreError(_unreadable(self._path, error)) from error
        except BaseException:
            self._close_files()
            raise
        self._writer = Writer(
            database,
            blobs,
            self._folder,
            durable_sequence=recovered.durable_sequence,
            sync=self._sync,
            watermark=self._watermark,
            wake=wake,
        )
        self._writer.start()
        return recovered

    def append(self, entry: Entry) -> None:
        self._opened().append((entry,))

    def append_all(self, entries: Sequence[Entry]) -> None:
        self._opened().append(entries)

    def fetch(self, key: PayloadKey) -> None:
        self._opened().fetch(key)

    def collect(self) -> Collected:
        return self._opened().collect()

    def back_up(self, path: Path) -> BackupState:
        return self._opened().back_up(path)

    def story(self, task_id: TaskId) -> Sequence[StoryLine] | None:
        return self._opened().story(task_id)

    def close(self) -> None:
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        finally:
            self._close_files()

    def _opened(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"the journal {self._path} is not open")
        return self._writer

    def _close_files(self) -> None:
        database, self._database = self._database, None
        folder, self._folder = self._folder, None
        if database is not None:
            database.close()
        if folder is not None:
            folder.close()

    # ---- recovery ------------------------------------------------------------------------------

    def _read_journal(self, folder: StoreFolder, blobs: BlobFolder) -> tuple[Database, Recovered]:
        """Open the database and read it; on a full disk with the help of the ballast."""
        synchronous: Literal["FULL", "NORMAL"] = "FULL" if self._sync else "NORMAL"
        while True:
            try:
                self._database = Database(self._path / DATABASE_NAME, synchronous=synchronous)
                return self._database, self._recover(folder, self._database, blobs)
            except (sqlite3.Error, OSError) as error:
                if not is_full(error) or not folder.release_ballast():
                    raise
                logger.warning("the disk of the journal is full: used the space set aside")

    def _recover(self, folder: StoreFolder, database: Database, blobs: BlobFolder) -> Recovered:
        sequence, last_time = database.last_entry()
        notes = self._compare(sequence, folder.read_sequence())
        missing = database.missing_log_rows()
        if missing:
            notes.append(f"the log lacks {missing} records")
        if (changes := database.changes()) is None:
            notes.append("what operators changed in queues is damaged: the settings' own are used")
        tasks: list[StoredTask] = []
        damaged: list[TaskId] = []
        rows = database.tasks()
        while some := list(islice(rows, VARIABLES)):
            # One question for hundreds: a start with a million tasks should take seconds.
            stored = database.payloads_of([row.task_id for row in some])
            is_there = partial(_is_there, stored, blobs)
            for row in some:
                task, whole = restore(row, is_there, last_time)
                tasks.append(task)
                if not whole:
                    damaged.append(task.request.id)
        return Recovered(
            tasks=tuple(tasks),
            durable_sequence=sequence,
            last_time=last_time,
            damaged=tuple(damaged),
            notes=tuple(notes),
            logged=() if self._read_after is None else database.records_after(self._read_after),
            changes=changes or "",
        )

    def _compare(self, sequence: int, known: int) -> list[str]:
        """Return notes; refuse a database that lost records which were committed."""
        if sequence >= known:
            return []
        loss = (
            f"the journal {self._path} ends at record {sequence}, but record {known} was once "
            f"committed: {known - sequence} records are lost"
        )
        if self._sync and not self._accept_data_loss:
            raise StoreError(
                f"{loss}. Restore it from a backup, or run `paintmq broker "
                f"--accept-data-loss` once: clients that are still there notice and submit again"
            )
        return [loss]


def _is_there(
    stored: Mapping[PayloadKey, StoredPayload],
    blobs: BlobFolder,
    key: PayloadKey,
    info: PayloadInfo,
) -> bool:
    """Check that it exists, without reading it; its content is checked when it is fetched."""
    found = stored.get(key)
    if found is None or found.size != info.size:
        return False
    return found.data is not None or blobs.has(found.digest, found.size)


def _barred(path: Path) -> Path | None:
    """Return what of the journal this user may not read and write; SQLite does not say which."""
    parts = [
        path,
        path / "blobs",
        *(path / f"{DATABASE_NAME}{end}" for end in ("", "-wal", "-shm")),
    ]
    return next((each for each in parts if each.exists() and not _is_ours(each)), None)


def _is_ours(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0))


def _unreadable(path: Path, error: Exception) -> str:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
        return f"the journal {path} is in use by another program: close it, then start again"
    if (barred := _barred(path)) is not None:
        denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return f"the journal's {barred} cannot be used: {refused(denied, 'broker.journal')}"
    if is_full(error) or DiskSpace.of(path).has_no_inodes:
        return (
            f"the disk of the journal {path} is full ({error}): make room there (df -h, df -i), "
            f"then start again, or name another place with broker.journal"
        )
    return (
        f"the journal {path} cannot be read ({error}): restore it from a backup, or move the "
        f"folder away (broker.journal) to start with an empty one; clients then submit their "
        "tasks again"
    )
