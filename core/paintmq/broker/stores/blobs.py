"""Large payloads as files with a number of their own and their digest: ``blobs/ab/ab34….d41d…``.

Rule 1: a file appears under its name only when it is whole (write aside, fsync, rename), and a
record may name it only when its folder was synced too.
Rule 2: every payload has a file of its own, with a random number in its name. The digest beside
it is the writer's, never what a peer claimed, and only proves that the file is whole: payloads with
equal digests can be made on purpose, and must not come to share a file. Older versions named files
by their SHA-256 alone, and shared them; these are still read.
Rule 3: a file is removed only when no row names it and no thread is writing it (a pin). Removed
files are kept for a moment, to be written again (``spare_files.py``).
"""

import contextlib
import logging
import os
import secrets
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from paintmq.broker.stores.disk_space import is_full
from paintmq.broker.stores.failpoints import failpoint
from paintmq.broker.stores.payload_file import open_payload, write_payload
from paintmq.broker.stores.spare_files import SpareFiles
from paintmq.digests import XXH3, matches
from paintmq.task import Buffer

logger = logging.getLogger(__name__)


class BlobFolder:
    """The files of one store. Its methods may be called by any thread."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        self._folder = folder
        self._sync = sync
        self._lock = threading.Lock()
        self._pins: Counter[str] = Counter()
        self._spare = SpareFiles(folder / "spare")

    def write(self, data: Buffer) -> str:
        """Write a file and return its name. It stays pinned until ``unpin``."""
        try:
            return self._write(data)
        except OSError as error:
            if not (is_full(error) and self.drop_spare()):
                raise
            return self._write(data)

    def _write(self, data: Buffer) -> str:
        # Not named by our process id: in a container an earlier process had the same, and may have
        # been killed while it wrote.
        number = secrets.token_hex(8)
        with self._lock:
            self._pins[number] += 1
        aside = self._folder / "new" / number
        try:
            aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{number}.{self._fill(aside, data).removeprefix(XXH3)}"
            self._put_in_place(aside, self.path(name))
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            self.unpin([number])
            raise
        return name

    def _fill(self, aside: Path, data: Buffer) -> str:
        """Write the data to a file aside, a spare one or a new one; return their digest."""
        size = memoryview(data).nbytes
        is_new = not self._spare.take(size, aside)
        failpoint("blob.before_write")
        flags = os.O_CREAT | os.O_EXCL if is_new else os.O_NOFOLLOW
        descriptor = os.open(aside, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
        try:
            resized = is_new or os.fstat(descriptor).st_size != size
            if resized and not is_new:
                os.ftruncate(descriptor, size)
            # Without syncs the cache is quicker than the disk.
            digest = write_payload(descriptor, data, past_cache=self._sync)
            failpoint("blob.after_write")
            if self._sync:
                # Written over, with its size and blocks as they were: nothing else has changed.
                os.fsync(descriptor) if resized else os.fdatasync(descriptor)
                failpoint("blob.after_fsync")
        finally:
            os.close(descriptor)
        return digest

    def _put_in_place(self, aside: Path, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        failpoint("blob.before_rename")
        aside.rename(path)
        failpoint("blob.after_rename")

    def sync_folders(self, names: Iterable[str]) -> None:
        """Make the names of these files durable: one fsync a folder."""
        if not self._sync:
            return
        for folder in sorted({self.path(name).parent for name in names}):
            failpoint("blob.before_folder_fsync")
            sync_folder(folder)
            sync_folder(folder.parent)
            failpoint("blob.after_folder_fsync")

    def unpin(self, names: Iterable[str]) -> None:
        """Record that rows name these files now, or that they will not be used after all."""
        with self._lock:
            for number in map(number_in, names):
                self._pins[number] -= 1
                if not self._pins[number]:
                    del self._pins[number]

    def remove(self, names: Iterable[str], *, is_named: Callable[[str], bool]) -> None:
        """Remove the files that no row names any more."""
        for name in names:
            with self._lock:
                if number_in(name) not in self._pins and not is_named(name):
                    failpoint("unlink.before")
                    if not self._spare.keep(self.path(name)):
                        self._unlink(self.path(name))
                    failpoint("unlink.after")

    def drop_spare(self, *, older_than: float = 0.0) -> bool:
        """Remove files that are only kept to be written again; return whether there were any."""
        return self._spare.drop(older_than=older_than)

    def has(self, name: str, size: int) -> bool:
        """Return whether the file is there, of that size; ``read`` checks its content."""
        try:
            found = self.path(name).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def read(self, name: str, size: int) -> memoryview | None:
        """Return the file's content; None if the file is gone or not what it was.

        It is read and not mapped: a mapped file that shrinks, or a page that the disk cannot read,
        would end the whole process by SIGBUS.

        Raises:
            OSError: it cannot be opened or read.
        """
        descriptor = open_payload(self.path(name))
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if os.fstat(descriptor).st_size != size:
                return None
            content = memoryview(bytearray(size))
            count = 0
            while count < size and (got := file.readinto(content[count:])):
                count += got
        if count != size or not matches(digest_in(name), content):
            return None
        return content.toreadonly()

    def sweep(self, *, is_named: Callable[[str], bool], older_than: float = 3600.0) -> int:
        """Remove what a crash left behind: files no row names, and files never finished."""
        limit = time.time_ns() / 1e9 - older_than
        removed = 0
        self._spare.sweep()
        for path in self._folder.glob("*/*"):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if found.st_mtime > limit or not stat.S_ISREG(found.st_mode):
                continue  # folders and links are not ours
            if path.parent.name == "spare":
                continue
            with self._lock:
                unfinished = path.parent.name == "new"
                pinned = number_in(path.name) in self._pins
                if not pinned and (unfinished or not is_named(path.name)):
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

    def path(self, name: str) -> Path:
        return self._folder / name[:2] / name


def number_in(name: str) -> str:
    """Return the number a file's name begins with, which it has before its digest is known."""
    return name.partition(".")[0]


def digest_in(name: str) -> str:
    """Return the digest that a file of this name should have."""
    _, point, proof = name.partition(".")
    return XXH3 + proof if point else name


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
