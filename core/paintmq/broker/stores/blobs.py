"""Large payloads as files named by their content: ``blobs/ab/ab34…``.

Rule 1: a file appears under its name only when it is whole (write aside, fsync, rename), and a
record may name it only when its folder was synced too.
Rule 2: the name is the SHA-256 that the writer computed, never what a peer claimed.
Rule 3: a file is removed only when no row names it and no thread is writing it (a pin).
"""

import errno
import hashlib
import mmap
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from paintmq.broker.stores.failpoints import failpoint
from paintmq.task import Buffer


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
            aside.unlink(missing_ok=True)
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
                    self.path(digest).unlink(missing_ok=True)
                    failpoint("unlink.after")

    def has(self, digest: str, size: int) -> bool:
        """Return whether the file is there, of that size; ``read`` checks its content."""
        try:
            return self.path(digest).stat().st_size == size
        except OSError:
            return False

    def read(self, digest: str, size: int) -> memoryview | None:
        """Return the file, mapped, once its content is proven; None if it is not what it was."""
        try:
            with self.path(digest).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            if getattr(error, "errno", errno.ENOENT) in (errno.ENOENT, errno.EINVAL):
                return None
            raise
        view = memoryview(mapped)
        if len(view) != size or sha256(view) != digest:
            return None
        return view

    def sweep(self, *, is_named: Callable[[str], bool], older_than: float = 3600.0) -> int:
        """Remove what a crash left behind: files no row names, and files never finished."""
        limit = time.time_ns() / 1e9 - older_than
        removed = 0
        for path in self._folder.glob("*/*"):
            try:
                if path.stat().st_mtime > limit:
                    continue
            except FileNotFoundError:
                continue
            with self._lock:
                if path.parent.name == "new" or not (
                    path.name in self._pins or is_named(path.name)
                ):
                    failpoint("sweep.before_unlink")
                    path.unlink(missing_ok=True)
                    failpoint("sweep.after_unlink")
                    removed += 1
        return removed

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
