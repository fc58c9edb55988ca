"""The folder a durable journal lives in, and the small files beside its database.

::

    paintmq.db, paintmq.db-wal    the database
    blobs/                        payloads above 256 KiB
    lock                          held by the broker that uses the folder
    sequence                      number of the last committed record, twice
    ballast                       space given back when the disk is full
"""

import contextlib
import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Self

from paintmq.broker.stores.failpoints import failpoint
from paintmq.errors import StoreError
from paintmq.units import MIB

BALLAST_BYTES = 64 * MIB
WATERMARK_BYTES = 1024 * MIB
WATERMARK_SHARE = 0.05


class StoreFolder:
    """An opened, locked journal folder."""

    def __init__(self, path: Path, lock: int, sequence: int) -> None:
        self.path = path
        self._lock = lock
        self._sequence = sequence

    @classmethod
    def open(cls, path: Path) -> Self:
        """Create the folder if need be and lock it.

        Raises:
            StoreError: another broker uses it, or it cannot be created.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"the journal {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            failpoint("folder.after_lock")
            sequence = os.open(path / "sequence", os.O_RDWR | os.O_CREAT, 0o600)
        except BlockingIOError as error:
            holder = os.pread(lock, 20, 0).decode(errors="replace") or "unknown"
            os.close(lock)
            raise StoreError(
                f"the journal {path} is in use by another broker (process {holder}); "
                f"stop that one, or give this one a journal of its own (broker.journal)"
            ) from error
        except OSError as error:
            os.close(lock)
            raise StoreError(f"the journal {path} cannot be written: {error.strerror}") from error
        return cls(path, lock, sequence)

    def close(self) -> None:
        os.close(self._sequence)
        os.close(self._lock)

    # ---- the sequence file: notices a database that went back in time --------------------------

    def read_sequence(self) -> int:
        """Return the highest number known to have been committed; 0 when unreadable."""
        data = os.pread(self._sequence, 16, 0)
        first, second = data[:8], data[8:]
        return int.from_bytes(first) if len(data) == 16 and first == second else 0

    def write_sequence(self, number: int, *, sync: bool) -> None:
        """Store the last committed number. Unsynced it survives a kill, synced a power loss."""
        failpoint("sequence.before_write")
        os.pwrite(self._sequence, number.to_bytes(8) * 2, 0)
        failpoint("sequence.after_write")
        if sync:
            os.fsync(self._sequence)
            failpoint("sequence.after_fsync")

    # ---- space ---------------------------------------------------------------------------------

    def is_scarce(self, *, pending: int, watermark: int | None = None) -> bool:
        """Return whether so little space is left, ``pending`` bytes counted, that new tasks should
        be refused: 1 GiB or a twentieth of the disk, whichever is less.
        """
        disk = os.statvfs(self.path)
        size, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
        if watermark is None:
            watermark = min(WATERMARK_BYTES, int(size * WATERMARK_SHARE))
        return free - pending < watermark

    def fill_ballast(self, size: int = BALLAST_BYTES) -> None:
        """Set space aside, unless that would make it scarce."""
        ballast = self.path / "ballast"
        if ballast.exists() or self.is_scarce(pending=2 * size):
            return
        try:
            descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            return
        failpoint("ballast.after_open")
        try:
            os.posix_fallocate(descriptor, 0, size)
            failpoint("ballast.after_allocate")
        except OSError:
            # A broker without a ballast is better than none.
            with contextlib.suppress(OSError):
                ballast.unlink()
        finally:
            os.close(descriptor)

    def release_ballast(self) -> bool:
        """Give the space back to the database; return whether there was any."""
        try:
            (self.path / "ballast").unlink()
        except FileNotFoundError:
            return False
        return True


def lacks_files(error: Exception) -> bool:
    """Return whether this says that the process, or the whole system, may open no more files."""
    if isinstance(error, sqlite3.Error):  # which says "cannot open" of a missing folder, too
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CANTOPEN and _none_left()
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def _none_left() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return lacks_files(error)
    return False


def is_full(error: Exception) -> bool:
    """Return whether this says that a disk, or what a user may have of it, is full."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
