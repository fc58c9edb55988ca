"""What a worker runs, written down before a payload is touched, so that every crash is seen.

A task can take the whole node down: through the driver, or by exhausting memory. The next process
of the same name finds here what ran, and reports it. Two write: the agent notes what it hands to
its host before it does, and the host which of it it has begun (``batch_mark.py``); only both
together make a task answer for the death. The file lies in memory (tmpfs) where there is one: it
has to survive the process, not the machine.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from attrs import define, field

from paintmq.process import file_lock
from paintmq.task import Fence, TaskId
from paintmq.units import MIB
from paintmq.worker.channel.batch_mark import MARK_SIZE, marked_batch
from paintmq.worker.channel.messages import MarkPlace
from paintmq.worker.machine.batches import HandedOver

RESERVED = 16 * 1024
"""Bytes taken at the start: memory that is full later must not keep a note from being written."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


logger = logging.getLogger(__name__)


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
    found: HandedOver | None
    """The batch that an earlier process of this worker was at when it died."""
    _descriptor: int
    _run: str = field(factory=lambda: os.urandom(8).hex(), init=False)
    _boot: str = field(factory=lambda: _boot_id(), init=False)
    _length: int = field(default=0, init=False)
    _is_full: bool = field(default=False, init=False)
    _written: tuple[HandedOver, ...] = field(factory=tuple, init=False)

    @classmethod
    def open(cls, folder: Path, worker: str) -> "CrashJournal | None":
        """Return the worker's journal; None where another live process has it, or the file
        cannot be made.

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
            file_lock.lock(descriptor)
        except OSError:
            os.close(descriptor)
            return None
        journal = cls(path, _parse(os.pread(descriptor, MIB, 0)), descriptor)
        os.ftruncate(descriptor, 0)
        journal._put(bytes(RESERVED), 0)
        return journal

    @property
    def mark_place(self) -> MarkPlace:
        """Where this worker's hosts are to note which batch they are at."""
        return MarkPlace(str(self.path), self._run)

    def marked(self) -> int:
        """Return the batch that a host of this worker is at, or was when it died; 0: none."""
        return marked_batch(os.pread(self._descriptor, MARK_SIZE, 0), self._run)

    def write(self, handed_over: Sequence[HandedOver], *, host_ended: bool = False) -> None:
        """Record what the host has from now on; return once it is written.

        A note is left as it is when batches have merely ended: the host, as long as it lives, has
        cleared its mark of them. ``host_ended``: it does not, so its mark means nothing.

        Where there is no room for the note, the work goes on without: only a crash of the whole
        node would then go unseen.
        """
        batches = tuple(handed_over)
        is_noted = all(batch in self._written for batch in batches)
        if is_noted and (not host_ended or len(batches) == len(self._written)):
            return
        rows = [
            [
                batch.number,
                batch.size,
                [[task, fence.incarnation, fence.attempt] for task, fence in batch.keys],
            ]
            for batch in batches
        ]
        note = {"boot": self._boot, "run": self._run, "batches": rows}
        text = msgspec.json.encode(note) if rows else b""
        # Whoever reads after our death finds this write whole or not at all; spaces cover what
        # is left of a longer one.
        self._length = max(self._length, len(text))
        self._put(text.ljust(self._length), MARK_SIZE)
        self._written = batches

    def _put(self, data: bytes, at: int) -> None:
        try:
            os.pwrite(self._descriptor, data, at)
        except OSError as error:
            if not self._is_full:
                logger.warning("%s: crashes of this node may go unseen: %s", self.path, error)
            self._is_full = True
        else:
            self._is_full = False

    def close(self) -> None:
        """Remove the journal: the worker leaves in order and has no crash to report."""
        self.path.unlink(missing_ok=True)
        file_lock.unlock(self._descriptor)
        with contextlib.suppress(OSError):  # another worker's journal may be in it
            self.path.parent.rmdir()


def _parse(text: bytes) -> HandedOver | None:
    """Return the batch that was begun. Anything but a whole note of this boot counts as none."""
    try:
        note = json.loads(text[MARK_SIZE:].rstrip(b"\0"))
        if note["boot"] != _boot_id():
            return None
        begun = marked_batch(text[:MARK_SIZE], note["run"])
        for number, size, rows in note["batches"]:
            keys = tuple(
                (TaskId(str(task_id)), Fence(int(incarnation), int(attempt)))
                for task_id, incarnation, attempt in rows
            )
            if number == begun and keys:
                return HandedOver(int(number), keys, int(size))
    except (ValueError, TypeError, KeyError):
        pass
    return None


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
