"""Tasks of a durable client whose outcome the program has not taken yet: one file a task.

Rule 1: a task is on disk before it is sent, and off it when its outcome is handed to the program.
Rule 2: an outcome that was handed over counts as seen once the same thread comes back to the
client, or the program ends in good order. Until then the lock file names its task: whatever dies
when, the program sees every outcome, and twice only what it took last before it died.
Rule 3: a file is written beside its place and moved there, so it is whole or not there.
"""

import logging
import os
import re
import threading
from pathlib import Path
from struct import Struct

from paintmq.client.task import PreparedTask
from paintmq.errors import StoreError, WireError
from paintmq.process import file_lock, private_files
from paintmq.task import TaskId
from paintmq.user_folders import data_folder, refused
from paintmq.wire.codec import decode, encode
from paintmq.wire.messages import Submit

logger = logging.getLogger(__name__)

_MAGIC = b"PQTASK1\n"
_LENGTH = Struct(">I")
_SUFFIX = ".task"


def journal_for(durable: "bool | Path | str") -> "ClientJournal | None":
    """Return the journal for a ``durable`` argument: none, the platform's, or at a path."""
    if durable is False:
        return None
    if durable is True:
        return ClientJournal(data_folder("client", instead="durable=PATH"))
    return ClientJournal(Path(durable))


class ClientJournal:
    """A folder that belongs to one client at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None
        self._handing_over: dict[int, list[TaskId]] = {}
        """By thread: outcomes it has taken, and perhaps not seen."""
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self.taken_last: tuple[TaskId, ...] = ()
        """Tasks whose outcomes an earlier client took and perhaps had not seen when it died."""

    def open(self) -> list[PreparedTask]:
        """Take the folder and return what an earlier client left in it, oldest first.

        Raises:
            StoreError: the folder cannot be used, or another client has it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _lock(self.folder)
            self.taken_last = _read_ids(self._lock)
            # Task ids sort by the time they were made.
            return [task for path in sorted(self.folder.iterdir()) if (task := _read(path))]
        except OSError as error:
            raise StoreError(
                f"the client's journal {self.folder} cannot be used:"
                f" {refused(error, 'durable=FOLDER')}"
            ) from error

    def keep(self, prepared: PreparedTask) -> None:
        """Write the task and its inputs down; when this returns they survive a power failure.

        Raises:
            StoreError: they cannot be written.
        """
        path = self._path(prepared.request.id)
        body = encode(Submit(prepared.request))
        draft = path.with_suffix(".draft")
        try:
            with open(draft, "wb", opener=private_files.opener) as file:
                file.write(_MAGIC + _LENGTH.pack(len(body)) + body)
                file.writelines(prepared.payloads)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            _sync_folder(self.folder)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StoreError(
                f"task {prepared.request.id} cannot be written to the client's journal"
                f" {self.folder}: {refused(error, 'durable=FOLDER')}"
            ) from error

    def hand_over(self, task_id: TaskId) -> None:
        """Drop the task: its outcome is being handed to the calling thread."""
        with self._mutex:
            mine = self._handing_over.setdefault(threading.get_ident(), [])
            mine[:] = [task_id]  # it came back for this one, so it has seen those before
            self._write_ids()
        self.drop(task_id)

    def seen(self) -> None:
        """Record that the calling thread has seen the outcomes it took."""
        with self._mutex:
            if self._handing_over.pop(threading.get_ident(), None):
                self._write_ids()

    def all_seen(self) -> None:
        """Record that every outcome that was handed over was seen."""
        with self._mutex:
            self._handing_over.clear()
            self._write_ids()

    def drop(self, task_id: TaskId) -> None:
        self._path(task_id).unlink(missing_ok=True)

    def close(self) -> None:
        """Let another client have the folder."""
        self.all_seen()
        with self._mutex:
            if self._lock is not None:
                file_lock.unlock(self._lock)
                self._lock = None

    def _write_ids(self) -> None:
        if self._lock is None or os.getpid() != self._pid:
            return  # a fork shares the file, and has taken nothing
        ids = [task_id for taken in self._handing_over.values() for task_id in taken]
        data = "".join(f"{task_id}\n" for task_id in ids).encode()
        os.pwrite(self._lock, data, 0)
        os.ftruncate(self._lock, len(data))

    def _path(self, task_id: TaskId) -> Path:
        return self.folder / f"{task_id}{_SUFFIX}"


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        file_lock.lock(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            f"another client uses the journal {folder}: give each a folder of its own"
            " (durable=FOLDER)"
        ) from None
    return descriptor


def _read_ids(lock: int) -> tuple[TaskId, ...]:
    lines = os.pread(lock, 1 << 20, 0).decode("ascii", "replace").splitlines()
    return tuple(TaskId(line) for line in lines if re.fullmatch("[0-9a-f]{32}", line))


def _read(path: Path) -> PreparedTask | None:
    """Return the task of a file; None for anything else. What is damaged is put aside."""
    if path.suffix == ".draft":
        path.unlink()  # its client died while writing it, before sending the task
        return None
    if path.suffix != _SUFFIX:
        return None
    data = path.read_bytes()
    try:
        return _parse(data)
    except WireError as error:
        damaged = path.with_suffix(".damaged")
        path.rename(damaged)
        logger.warning("a task of the client's journal is damaged, see %s: %s", damaged, error)
        return None


def _parse(data: bytes) -> PreparedTask:
    start = len(_MAGIC) + _LENGTH.size
    if not data.startswith(_MAGIC) or len(data) < start:
        raise WireError("not a task of ours")
    (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
    message = decode(data[start : start + length])
    if not isinstance(message, Submit):
        raise WireError(f"a {type(message).__name__}, not a task")
    sizes = [info.size for info in message.task.inputs]
    offset = start + length
    if offset + sum(sizes) != len(data):
        raise WireError(f"{len(data)} bytes, but {offset + sum(sizes)} were written")
    payloads = []
    for size in sizes:
        payloads.append(data[offset : offset + size])
        offset += size
    return PreparedTask(message.task, tuple(payloads))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
