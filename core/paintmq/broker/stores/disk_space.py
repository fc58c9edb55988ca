"""Room on a disk: the one rule for when it is scarce, and which errors say that there is none.

A file system can run out of bytes or of files (inodes); both refuse with the same error, ENOSPC.
"""

import errno
import os
import sqlite3
from pathlib import Path

from attrs import frozen

WATERMARK_BYTES = 1024**3
WATERMARK_FILES = 1_000
WATERMARK_SHARE = 0.05


@frozen
class DiskSpace:
    """What a file system has left for us."""

    size: int
    """Bytes it can hold."""
    free: int
    """Bytes that we may still write."""
    files: int
    """Inodes it can hold; 0 where there is no such limit."""
    free_files: int

    @classmethod
    def of(cls, path: Path) -> "DiskSpace":
        """Ask the file system that this path is on; it must exist."""
        disk = os.statvfs(path)
        return cls(
            disk.f_blocks * disk.f_frsize,
            disk.f_bavail * disk.f_frsize,
            disk.f_files,
            disk.f_favail,
        )

    def shortage(self, *, pending: int = 0, watermark: int | None = None) -> str:
        """Return what is so scarce that new tasks should be refused; empty while nothing is.

        Args:
            pending: bytes that are about to be written.
            watermark: bytes that must stay free; 1 GiB or a twentieth of the disk, whichever is
                less, when it is None. Of inodes 1,000 or a twentieth must stay free.
        """
        if watermark is None:
            watermark = min(WATERMARK_BYTES, int(self.size * WATERMARK_SHARE))
        if self.free - pending < watermark:
            return "space"
        if self.files and self.free_files < min(WATERMARK_FILES, self.files * WATERMARK_SHARE):
            return "inodes"
        return ""

    @property
    def has_no_inodes(self) -> bool:
        """Whether no file can be made, however much space is left."""
        return bool(self.files) and self.free_files == 0


_FAILED_WRITES = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE)


def is_full(error: Exception) -> bool:
    """Return whether this says that a disk, or what a user may have of it, is full."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def may_be_quota(error: Exception) -> bool:
    """Return whether SQLite could not write, for whatever reason."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code in _FAILED_WRITES


def lacks_files(error: Exception) -> bool:
    """Return whether this says that the process, or the whole system, may open no more files."""
    if isinstance(error, sqlite3.Error):  # which says "cannot open" of a missing folder, too
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CANTOPEN and _none_left()
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def is_in_the_way(error: Exception) -> bool:
    """Return whether this says that something that is not ours has a name we would use."""
    return isinstance(error, FileExistsError | IsADirectoryError | NotADirectoryError)


def _none_left() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return lacks_files(error)
    return False
