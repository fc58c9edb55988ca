"""Large payloads as files named by their content: ``blobs/ab/ab34…``.

Rule 1: a file appears under its name only when it is whole (write aside, fsync, rename), and a
record may name it only when its folder was synced too.
Rule 2: the name is the SHA-256 that the writer computed, never what a peer claimed.
Rule 3: a file is removed only when no row names it and no thread is writing it (a pin).
"""

import contextlib
import hashlib
import logging
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from paintmq.broker.stores.failpoints import failpoint
from paintmq.task import Buffer

logger = logging.getLogger(__name__)


class BlobFolder:
    """The files of one store. Its methods may be called by any thread."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        self._folder = folder
        self._sync = sync
        self._lock = threading.Lock()
        self._pins: Counter[str] = Counter()
        self._written = 0

    def write(self, data: Buffer) -> str:
        """Write a file and return its digest. It stays pinned until ``unpin``.

        An existing file is replaced, which heals one that was damaged.
        """
        digest = sha256(data)
        with self._lock:
            self._pins[digest] += 1
            self._written += 1
            aside = self._folder / "new" / f"{os.getpid()}-{self._written}"
        try:
            self._write(aside, self.path(digest), data)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            self.unpin([digest])
            raise
        return digest

    def _write(self, aside: Path, path: Path, data: Buffer) -> None:
        for parent in (aside.parent, path.parent):
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        failpoint("blob.before_write")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            remaining = memoryview(data).cast("B")
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
            failpoint("blob.after_write")
            if self._sync:
                os.fsync(descriptor)
                failpoint("blob.after_fsync")
        finally:
            os.close(descriptor)
        failpoint("blob.before_rename")
        aside.rename(path)
        failpoint("blob.after_rename")

    def sync_folders(self, digests: Iterable[str]) -> None:
        """Make the names of these files durable: one fsync a folder."""
        if not self._sync:
            return
        for folder in sorted({self.path(digest).parent for digest in digests}):
            failpoint("blob.before_folder_fsync")
            sync_folder(folder)
            sync_folder(folder.parent)
            failpoint("blob.after_folder_fsync")

    def unpin(self, digests: Iterable[str]) -> None:
        """Record that rows name these files now, or that they will not be used after all."""
        with self._lock:
            for digest in digests:
                self._pins[digest] -= 1
                if not self._pins[digest]:
                    del self._pins[digest]

    def remove(self, digests: Iterable[str], *, is_named: Callable[[str], bool]) -> None:
        """Remove the files that no row names any more."""
        for digest in digests:
            with self._lock:
                if digest not in self._pins and not is_named(digest):
                    failpoint("unlink.before")
                    self._unlink(self.path(digest))
                    failpoint("unlink.after")

    def has(self, digest: str, size: int) -> bool:
        """Return whether the file is there, of that size; ``read`` checks its content."""
        try:
            return self.path(digest).stat().st_size == size
        except OSError:
            return False

    def read(self, digest: str, size: int) -> memoryview | None:
        """Return the file's content; None if the file is gone or not what it was.

        It is read and not mapped: a mapped file that shrinks, or a page that the disk cannot read,
        would end the whole process by SIGBUS.

        Raises:
            OSError: it cannot be opened or read.
        """
        try:
            descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if os.fstat(descriptor).st_size != size:
                return None
            content = memoryview(bytearray(size))
            count = 0
            while count < size and (got := file.readinto(content[count:])):
                count += got
        if count != size or sha256(content) != digest:
            return None
        return content.toreadonly()

    def sweep(self, *, is_named: Callable[[str], bool], older_than: float = 3600.0) -> int:
        """Remove what a crash left behind: files no row names, and files never finished."""
        limit = time.time_ns() / 1e9 - older_than
        removed = 0
        for path in self._folder.glob("*/*"):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if found.st_mtime > limit or not stat.S_ISREG(found.st_mode):
                continue  # folders and links are not ours
            with self._lock:
                if path.parent.name == "new" or not (
                    path.name in self._pins or is_named(path.name)
                ):
                    failpoint("sweep.before_unlink")
                    removed += self._unlink(path)
                    failpoint("sweep.after_unlink")
        return removed

    @staticmethod
    def _unlink(path: Path) -> bool:
        """Remove a file; one that cannot be removed only takes up space, so the journal goes on."""
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            logger.warning("the payload file %s cannot be removed: %s", path, error.strerror)
            return False
        return True

    def path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest


def sha256(data: Buffer) -> str:
    return hashlib.sha256(data).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
