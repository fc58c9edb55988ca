"""A copy of a journal in use: its database as of one record, and the payload files it names.

Rule 1: the folder gets its name only when it is complete and checked.
Rule 2: it is a journal like any other: point ``broker.journal`` at it, or copy it back.
Rule 3: a backup that fails does not affect the journal.
"""

import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from attrs import evolve

from paintmq.broker.stores.blobs import BlobFolder, digest_in, sync_folder
from paintmq.broker.stores.payload_file import open_payload
from paintmq.broker.stores.store import BackupState
from paintmq.digests import Proof
from paintmq.errors import StoreError
from paintmq.process.private_files import opener
from paintmq.units import MIB

_CHUNK = MIB

CopyDatabase: TypeAlias = Callable[[Path], None]


class Backup:
    """One backup. ``copy_database`` is called by the journal's writer; the files follow in a thread
    of the backup's own, while the journal is written on.
    """

    def __init__(self, path: Path, database_name: str) -> None:
        """Raise StoreError if nothing can be put there."""
        self.path = path
        self._database = database_name
        self._aside = path.with_name(path.name + ".partial")
        self._given_up = threading.Event()
        self._thread: threading.Thread | None = None
        self.state = BackupState(path=str(path))
        if not path.is_absolute():
            raise StoreError(
                f"{path} is not an absolute path, and the broker may run in another folder than you"
            )
        if path.exists() or self._aside.exists():
            found = path if path.exists() else self._aside
            raise StoreError(f"there is something at {found} already: a backup takes a new folder")
        try:
            self._aside.mkdir(mode=0o700)
        except OSError as error:
            raise StoreError(f"the backup {path} cannot be made: {error.strerror}") from error

    @property
    def is_running(self) -> bool:
        return self.state.state == "running"

    def copy_database(self, copy: CopyDatabase) -> None:
        """Copy the database; an error on either side ends the backup and nothing else."""
        try:
            copy(self._aside / self._database)
        except (OSError, sqlite3.Error) as error:
            self.fail(str(error))

    def copy_files(self, blobs: BlobFolder) -> None:
        """Copy the files that the copied database names, in a thread of its own."""
        self._thread = threading.Thread(
            target=self._finish, args=(blobs,), name="paintmq-backup", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """End it, because the journal is being closed, and remove what was copied."""
        self._given_up.set()
        if self._thread is not None:
            self._thread.join()
        if self.is_running:
            self.fail("the broker stopped meanwhile")

    def fail(self, reason: str) -> None:
        shutil.rmtree(self._aside, ignore_errors=True)
        self.state = evolve(self.state, state="failed", error=reason)

    # ---- the backup's thread -------------------------------------------------------------------

    def _finish(self, blobs: BlobFolder) -> None:
        try:
            state, files = self._checked()
            for name in files:
                if self._given_up.is_set():
                    return
                copied = self._copy(blobs.path(name), name)
                if copied is None:
                    state = evolve(state, damaged=state.damaged + 1)
                else:
                    state = evolve(state, files=state.files + 1, size=state.size + copied)
            sync_folder(self._aside)
            self._aside.rename(self.path)
            sync_folder(self.path.parent)
        except (OSError, sqlite3.Error) as error:
            self.fail(str(error))
        else:
            self.state = evolve(state, state="done")

    def _checked(self) -> tuple[BackupState, list[str]]:
        """Prove the copied database; return what is in it, and the files it names."""
        path = self._aside / self._database
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            run = database.execute
            run("PRAGMA journal_mode = DELETE")  # one file, until a broker opens it
            found = run("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
            sequence = run("SELECT max(sequence) FROM log").fetchone()[0] or 0
            tasks = run("SELECT count(*) FROM task").fetchone()[0]
            named = run("SELECT DISTINCT digest FROM payload WHERE data IS NULL ORDER BY digest")
            files = [name for (name,) in named]
        path.chmod(0o600)
        _sync(path)
        (self._aside / "sequence").write_bytes(sequence.to_bytes(8) * 2)
        (self._aside / "sequence").chmod(0o600)
        _sync(self._aside / "sequence")
        size = path.stat().st_size
        return evolve(self.state, sequence=sequence, tasks=tasks, size=size), files

    def _copy(self, source: Path, name: str) -> int | None:
        """Copy a payload file; return its size, or None if it is not what it was."""
        target = self._aside / "blobs" / name[:2] / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest, size = digest_in(name), 0
        proof = Proof(digest)
        opened = open_payload(source)
        if opened is None:
            return None
        descriptor = opener(str(target), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(opened, "rb") as reading, os.fdopen(descriptor, "wb") as writing:
            while chunk := reading.read(_CHUNK):
                proof.add(chunk)
                size += writing.write(chunk)
            writing.flush()
            os.fsync(writing.fileno())
        if proof.text != digest:
            target.unlink()
            return None
        sync_folder(target.parent)
        return size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
