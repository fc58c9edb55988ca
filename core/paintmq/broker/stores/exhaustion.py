"""Shortage: what to do while the journal's disk is full, or no more files can be opened."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from paintmq.broker.stores.disk_space import is_full, lacks_files, may_be_quota
from paintmq.broker.stores.folder import StoreFolder
from paintmq.errors import StoreError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.2
DISK_CHECK_SECONDS = 1.0

_T = TypeVar("_T")


class Shortage:
    """Repeats actions until there is room for them.

    ``with_files`` and ``end`` may be called by any thread; the rest is the writer's.
    """

    def __init__(
        self,
        folder: StoreFolder,
        *,
        watermark: int | None,
        wake: Callable[[], None],
        drop_spare: Callable[[], bool] = lambda: False,
    ) -> None:
        """``wake`` tells the broker that the disk is full, or no longer; ``drop_spare`` gives back
        space that is only kept for speed, and returns whether there was any.
        """
        self._folder = folder
        self._watermark = watermark
        self._wake = wake
        self._drop_spare = drop_spare
        self.disk_full = False
        self._ended = threading.Event()
        self._files_lacked = False
        self._next_disk_check = 0.0

    def end(self) -> None:
        """End every wait: the journal is being closed."""
        self._ended.set()

    def with_space(
        self, action: Callable[[], _T], *, make_room: Callable[[], object] = lambda: None
    ) -> _T:
        """Do it; while the disk is full, say so, give back the ballast, make room and try again.

        Unlike after a failed fsync, trying again is sound: a full disk refuses before it writes.

        Raises:
            StoreError: the journal is being closed meanwhile.
        """
        while True:
            try:
                return self.with_files(action)
            except (OSError, sqlite3.Error) as error:
                if not self._is_of_space(error):
                    raise
                if self._drop_spare():
                    continue
                self.set_disk_full(full=True)
                if self._folder.release_ballast():
                    logger.warning("the disk of the journal is full: used the space set aside")
                    continue
                make_room()
                self._wait(f"the disk of the journal {self._folder.path} is full", error)

    def unless_short(self, action: Callable[[], object]) -> bool:
        """Do what can be put off; return False where space or files are lacking for it now."""
        try:
            action()
        except (OSError, sqlite3.Error) as error:
            if self._is_of_space(error):
                self.set_disk_full(full=True)
            elif not self.is_of_files(error):
                raise
            return False
        return True

    def with_files(self, action: Callable[[], _T]) -> _T:
        """Do it; while this process may open no more files, try again: nothing was begun.

        Raises:
            StoreError: the journal is being closed meanwhile.
        """
        while True:
            try:
                return action()
            except (OSError, sqlite3.Error) as error:
                if not self.is_of_files(error):
                    raise
                self._wait(f"the journal {self._folder.path} can open no more files", error)

    def _is_of_space(self, error: Exception) -> bool:
        """Return whether there is no room.

        SQLite knows no quotas: that one is used up it reports as a failed write, as it does of a
        broken disk. Whether a file can be made tells them apart.
        """
        return is_full(error) or (may_be_quota(error) and not self._folder.takes_data())

    def is_of_files(self, error: Exception) -> bool:
        """Return whether this process may open no more files, and say so the first time."""
        lacking = lacks_files(error)
        if lacking and not self._files_lacked:
            self._files_lacked = True
            logger.warning(
                "the journal %s can open no more files, and does without: "
                "raise the limit of open files (LimitNOFILE=, ulimit -n)",
                self._folder.path,
            )
        return lacking

    def check_disk(self, *, pending: int) -> bool:
        """Look, once a second, whether the disk has room beyond ``pending`` bytes; return whether
        it has room again after it had none.
        """
        now = time.monotonic()
        if now < self._next_disk_check:
            return False
        self._next_disk_check = now + DISK_CHECK_SECONDS
        was_full = self.disk_full
        full = self._is_scarce(pending) and not (
            self._drop_spare() and not self._is_scarce(pending)
        )
        # What refused a write may be a quota, which the file system's figures do not show.
        self.set_disk_full(full=full or (was_full and not self._folder.takes_data()))
        return was_full and not self.disk_full

    def _is_scarce(self, pending: int) -> bool:
        return self._folder.is_scarce(pending=pending, watermark=self._watermark)

    def set_disk_full(self, *, full: bool) -> None:
        if self.disk_full == full:
            return
        self.disk_full = full
        if not full:
            state = "has room again"
        elif self._folder.space().shortage(watermark=self._watermark) == "inodes":
            state = "can hold hardly any more files (df -i): new tasks are refused"
        else:
            state = "is full: new tasks are refused"
        logger.warning("the disk of the journal %s %s", self._folder.path, state)
        self._wake()

    def _wait(self, shortage: str, error: Exception) -> None:
        if self._ended.wait(RETRY_SECONDS):
            raise StoreError(
                f"{shortage}: what was not stored yet is lost, but no peer was told of it"
            ) from error
