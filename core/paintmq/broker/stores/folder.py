"""The folder a durable journal lives in, and the small files beside its database.

::

    paintmq.db, paintmq.db-wal    the database
    blobs/                        payloads above 256 KiB; in new/ being written, in spare/ to be
                                  written again
    lock                          held by the broker that uses the folder
    statistics.db                 counts over restarts, and their history; may be deleted
    sequence                      number of the last committed record, twice
    ballast                       space given back when the disk is full
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import Self

from paintmq.broker.stores.disk_space import DiskSpace, is_full
from paintmq.broker.stores.failpoints import failpoint
from paintmq.errors import StoreError
from paintmq.process import file_lock
from paintmq.units import MIB
from paintmq.user_folders import refused

BALLAST_BYTES = 64 * MIB
BALLAST_SHARE = 1 / 64
"""Of a disk that is too small for that."""
PROBE_BYTES = MIB


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
            raise StoreError(f"the journal {path} cannot be opened: {_refused(error)}") from error
        try:
            file_lock.lock(lock)
        except BlockingIOError as error:
            holder = os.pread(lock, 20, 0).decode(errors="replace") or "unknown"
            os.close(lock)
            raise StoreError(
                f"the journal {path} is in use by another broker (process {holder}); "
                f"stop that one, or give this one a journal of its own (broker.journal)"
            ) from error
        except OSError as error:
            os.close(lock)
            raise StoreError(f"the journal {path} cannot be locked: {_refused(error)}") from error
        try:
            _write_holder(lock)
            failpoint("folder.after_lock")
            sequence = os.open(path / "sequence", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            file_lock.unlock(lock)
            raise StoreError(f"the journal {path} cannot be written: {_refused(error)}") from error
        if not stat.S_ISREG(os.fstat(sequence).st_mode):
            os.close(sequence)
            file_lock.unlock(lock)
            raise StoreError(
                f"the journal {path} cannot be used: its sequence is no file but a pipe or a "
                f"device; move it away, and look who put it there"
            )
        return cls(path, lock, sequence)

    def close(self) -> None:
        os.close(self._sequence)
        file_lock.unlock(self._lock)

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

    def space(self) -> DiskSpace:
        return DiskSpace.of(self.path)

    def is_scarce(self, *, pending: int, watermark: int | None = None) -> bool:
        """Return whether new tasks should be refused; see ``DiskSpace.shortage``."""
        space = self.space()
        shortage = space.shortage(pending=pending, watermark=watermark)
        if shortage == "inodes" and space.has_no_inodes:
            return not self.takes_data()  # some file systems just do not know
        return bool(shortage)

    def takes_data(self) -> bool:
        """Try whether the disk takes a file; a quota may be full while the disk has room."""
        probe = self.path / "probe"
        try:
            self._allocate(probe, PROBE_BYTES)
        except OSError as error:
            return not is_full(error)
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
        return True

    def fill_ballast(self, size: int | None = None) -> None:
        """Set space aside, unless that would make it scarce."""
        ballast = self.path / "ballast"
        if size is None:
            size = min(BALLAST_BYTES, int(self.space().size * BALLAST_SHARE))
        if ballast.exists() or self.is_scarce(pending=2 * size):
            return
        try:
            self._allocate(ballast, size)
        except OSError:
            # A broker without a ballast is better than none.
            with contextlib.suppress(OSError):
                ballast.unlink()

    @staticmethod
    def _allocate(path: Path, size: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        failpoint("ballast.after_open")
        try:
            os.posix_fallocate(descriptor, 0, size)
            failpoint("ballast.after_allocate")
        finally:
            os.close(descriptor)

    def release_ballast(self) -> bool:
        """Give the space back to the database; return whether there was any."""
        try:
            (self.path / "ballast").unlink()
        except OSError:  # it is gone, or not ours: a folder of that name, say
            return False
        return True


def _refused(error: OSError) -> str:
    return refused(error, "broker.journal")


def _write_holder(lock: int) -> None:
    """Write down who holds the lock, for the message that another broker gives."""
    os.ftruncate(lock, 0)
    try:
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except OSError as error:
        if not is_full(error):
            raise
