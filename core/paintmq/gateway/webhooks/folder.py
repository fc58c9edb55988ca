"""The files of webhooks, one each, named after their tasks; and whose turn it is to deliver them.

Rule 1: a file is replaced in one step, and is on the disk before it counts.
Rule 2: several gateways may share the folder: each writes files, and the one that holds the lock
delivers. The lock ends with its process.
"""

import logging
import os
from pathlib import Path

from attrs import define, field

from paintmq.errors import ConfigError
from paintmq.gateway.webhooks.hook import Hook, hook_of
from paintmq.process import file_lock
from paintmq.user_folders import refused

logger = logging.getLogger(__name__)

_LOCK = "lock"
_SUFFIX = ".json"


@define(eq=False)
class HookFolder:
    """Methods that touch the disk; not for the event loop."""

    path: Path
    _lock: int | None = field(default=None, init=False)

    def make(self) -> None:
        """Make the folder.

        Raises:
            ConfigError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            reason = refused(error, "http.webhook_folder")
            raise ConfigError(f"{self.path}: {reason}") from error

    def try_lock(self) -> bool:
        """Return whether it is this process that delivers."""
        if self._lock is not None:
            return True
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            file_lock.lock(descriptor)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def unlock(self) -> None:
        if self._lock is not None:
            file_lock.unlock(self._lock)
            self._lock = None

    def names(self) -> set[str]:
        """Return the tasks that have a file here."""
        found = os.listdir(self.path)  # noqa: PTH208 -- many files: their names will do
        return {name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)}

    def written_at(self, task_id: str) -> float:
        """Return the Unix time at which a file was written; 0 if it is gone."""
        try:
            return self._file(task_id).stat().st_mtime
        except OSError:
            return 0.0

    def read(self, task_id: str) -> Hook | None:
        """Return the webhook of a task; None: it has none, or its file cannot be read."""
        try:
            return hook_of(self._file(task_id).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            logger.warning("%s is left alone: %s", self._file(task_id), error)
            return None

    def write(self, hook: Hook) -> None:
        """Keep the webhook, durably.

        Raises:
            OSError: that is not possible.
        """
        new = self.path / f"{hook.task}.{os.getpid()}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, 0o600), "wb") as out:
            out.write(hook.to_json())
            out.flush()
            os.fsync(out.fileno())
        new.replace(self._file(hook.task))
        self._sync()

    def remove(self, task_id: str) -> None:
        self._file(task_id).unlink(missing_ok=True)

    def _file(self, task_id: str) -> Path:
        return self.path / f"{task_id}{_SUFFIX}"

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
