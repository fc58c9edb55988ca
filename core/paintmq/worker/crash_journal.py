"""What a worker runs, written down before a payload is touched, so that no crash goes unseen.

A task can take the whole node down: while its message is decoded, through the driver, by exhausting
memory. The next process of the same name finds here what ran, and reports it. The file lies in
memory (tmpfs) where there is one: it has to survive the process, not the machine.
"""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

from paintmq.task import Fence, TaskId
from paintmq.worker.host_messages import Key

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def runtime_folder() -> Path:
    """Return the folder of this user's journals; it need not exist yet."""
    named = os.environ.get("XDG_RUNTIME_DIR")
    if named and Path(named).is_dir():
        return Path(named) / "paintmq"
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() else Path(tempfile.gettempdir())
    return parent / f"paintmq-{os.getuid()}"


@define(eq=False)
class CrashJournal:
    """The journal of one worker; held open and locked while the worker lives."""

    path: Path
    found: tuple[Key, ...]
    """What an earlier process of this worker ran when it died."""
    _descriptor: int
    _boot: str = field(factory=lambda: _boot_id(), init=False)
    _length: int = field(default=0, init=False)
    _written: tuple[Key, ...] = field(factory=tuple, init=False)

    @classmethod
    def open(cls, folder: Path, worker: str) -> "CrashJournal | None":
        """Return the worker's journal; None where another live process has it, or nobody can.

        Two nodes of one name on one machine do no harm: the second has no journal.
        """
        path = folder / f"{worker.replace('/', '~')}.running"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                return None
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        journal = cls(path, _parse(os.pread(descriptor, 1 << 20, 0)), descriptor)
        os.ftruncate(descriptor, 0)
        return journal

    def write(self, running: Sequence[Key]) -> None:
        """Note what runs from now on; return once it is noted."""
        keys = tuple(running)
        if keys == self._written:
            return
        rows = [[task_id, fence.incarnation, fence.attempt] for task_id, fence in keys]
        text = json.dumps({"boot": self._boot, "running": rows}).encode() if rows else b""
        # One write is whole or not at all for whoever reads after our death; spaces cover the rest.
        self._length = max(self._length, len(text))
        os.pwrite(self._descriptor, text.ljust(self._length), 0)
        self._written = keys

    def close(self) -> None:
        """Remove the journal: the worker leaves in order, and nothing of its crashed."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        with contextlib.suppress(OSError):  # another worker's journal may be in it
            self.path.parent.rmdir()


def _parse(text: bytes) -> tuple[Key, ...]:
    """Return what is noted. Anything else than a whole note of this boot is nothing."""
    try:
        note = json.loads(text)
        if note["boot"] != _boot_id():
            return ()
        return tuple(
            (TaskId(str(task_id)), Fence(int(incarnation), int(attempt)))
            for task_id, incarnation, attempt in note["running"]
        )
    except (ValueError, TypeError, KeyError):
        return ()


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
