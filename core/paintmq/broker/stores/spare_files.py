"""Payload files that are gone, kept for a while to be written again: ``blobs/spare/``.

A file of the same size needs no blocks, and its sync no journal of the file system's: a payload of
12.6 MB is on the disk a third sooner than in a new file.

Rule 1: a spare file has neither the name nor, once it is used again, the content it had; nothing
may name it any more when it comes here.
Rule 2: what was forgotten is gone from the disk within ``KEPT_SECONDS``, or when the broker stops.
What a killed broker left here, the next one removes.
Rule 3: spare files are the first thing to go when the disk has little room.
"""

import contextlib
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

from paintmq.broker.stores.failpoints import failpoint
from paintmq.units import MIB

MOST_BYTES = 256 * MIB
MOST_FILES = 64
KEPT_SECONDS = 30.0


@define
class SpareFiles:
    """The spare files of one store. Its methods may be called by any thread, and raise nothing."""

    _folder: Path
    _clock: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[int, float]] = field(factory=dict[str, tuple[int, float]], init=False)
    """Size of each, and when it came; the oldest first."""
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, path: Path) -> bool:
        """Take a file that nothing names any more; return False if it had better be removed."""
        try:
            found = path.lstat()
            # A file with another name may be somebody's backup: writing would change that, too.
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                return False
            if found.st_size > MOST_BYTES:
                return False
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            failpoint("spare.before_keep")
            path.rename(self._folder / path.name)
            failpoint("spare.after_keep")
        except OSError:
            return False
        with self._lock:
            self._kept[path.name] = found.st_size, self._clock()
            most = sum(size for size, _ in self._kept.values())
            while most > MOST_BYTES or len(self._kept) > MOST_FILES:
                most -= self._remove(next(iter(self._kept)))
        return True

    def take(self, size: int, to: Path) -> bool:
        """Give the file that fits best the path ``to``: as large, or up to twice as large."""
        with self._lock:
            fitting = [
                (kept, name) for name, (kept, _) in self._kept.items() if size <= kept <= 2 * size
            ]
            if not fitting:
                return False
            _, name = min(fitting)
            del self._kept[name]
        try:
            failpoint("spare.before_take")
            (self._folder / name).rename(to)
            failpoint("spare.after_take")
        except OSError:  # somebody tidied up
            return False
        return True

    def drop(self, *, older_than: float = 0.0) -> bool:
        """Remove those that were not needed for so many seconds; return whether any was."""
        if not self._kept:
            return False
        limit = self._clock() - older_than
        with self._lock:
            old = [name for name, (_, since) in self._kept.items() if since <= limit]
            for name in old:
                self._remove(name)
        return bool(old)

    def sweep(self) -> None:
        """Remove what an earlier process left."""
        with self._lock, contextlib.suppress(OSError):
            for path in list(self._folder.iterdir()):
                if path.name not in self._kept:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _remove(self, name: str) -> int:
        size, _ = self._kept.pop(name)
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()
        return size
