"""The store: a line a record, payloads in files beside it, one thread that writes them in order."""

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, ClassVar, TypeAlias

from paintmq.errors import StoreError
from paintmq.storing import (
    Collected,
    Entry,
    PayloadKey,
    Record,
    Recovered,
    SettingsChanged,
    Store,
    TaskChanged,
    TaskPurged,
    decode_record,
    encode_record,
    keeps_inputs,
    replay,
)
from paintmq.task import Buffer

Order: TypeAlias = Entry | PayloadKey | None
"""What the thread is told: write this, read that, or end."""


class Diary(Store):
    """A folder with ``diary.jsonl`` and ``payloads/``. Simple, and so not for many tasks: it is
    read as a whole at every start, and never gets shorter.
    """

    keeps_payloads: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self._file = folder / "diary.jsonl"
        self._payloads = folder / "payloads"
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], None] = lambda: None
        # What the thread has done, for ``collect``; a lock keeps the two apart.
        self._lock = threading.Lock()
        self._durable = 0
        self._read: list[tuple[PayloadKey, Buffer | None]] = []
        self._failure: OSError | None = None

    def open(self, wake: Callable[[], None]) -> Recovered:
        try:
            self._payloads.mkdir(parents=True, exist_ok=True)
            entries = [line.split(b" ", 2) for line in self._lines()]
            records = [decode_record(record) for _, _, record in entries]
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._file}: {error}") from error
        self._wake = wake
        self._durable = int(entries[-1][0]) if entries else 0
        self._thread = threading.Thread(target=self._run, name="diary", daemon=True)
        self._thread.start()
        return Recovered(
            tasks=tuple(replay(records).values()),
            durable_sequence=self._durable,
            last_time=max((float(at) for _, at, _ in entries), default=0.0),
            changes=next(
                (each.changes for each in reversed(records) if isinstance(each, SettingsChanged)),
                "",
            ),
        )

    def append(self, entry: Entry) -> None:
        self._orders.put(entry)

    def fetch(self, key: PayloadKey) -> None:
        self._orders.put(key)

    def collect(self) -> Collected:
        with self._lock:
            if self._failure is not None:
                raise StoreError(f"the diary cannot be written: {self._failure}")
            found, self._read = tuple(self._read), []
            return Collected(durable_sequence=self._durable, payloads=found)

    def close(self) -> None:
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            raise StoreError(f"the diary could not be completed: {self._failure}")

    def _lines(self) -> list[bytes]:
        """Return the whole lines; what a killed broker did not finish was never promised."""
        if not self._file.exists():
            return []
        whole, _, torn = self._file.read_bytes().rpartition(b"\n")
        if torn:
            os.truncate(self._file, len(whole) + 1 if whole else 0)
        return whole.splitlines()

    # ---- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._file.open("ab") as diary:
                while (order := self._orders.get()) is not None:
                    if isinstance(order, PayloadKey):
                        self._answer(order)
                    else:
                        self._write(order, diary)
                    self._wake()
        except OSError as error:
            with self._lock:
                self._failure = error
            self._wake()

    def _write(self, entry: Entry, diary: BinaryIO) -> None:
        for key, data in entry.payloads:  # before the record that speaks of them
            with self._path(key).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        line = f"{entry.sequence} {entry.at!r} ".encode() + encode_record(entry.record) + b"\n"
        diary.write(line)
        diary.flush()
        os.fsync(diary.fileno())
        self._forget(entry.record)
        with self._lock:
            self._durable = entry.sequence

    def _forget(self, record: Record) -> None:
        """Remove the payloads that this record makes superfluous."""
        match record:
            case TaskPurged(task_id):
                unneeded = f"{task_id}-*"
            case TaskChanged(task_id, _, status) if not keeps_inputs(status.state):
                unneeded = f"{task_id}-in-*"
            case _:
                return
        for path in self._payloads.glob(unneeded):
            path.unlink()

    def _answer(self, key: PayloadKey) -> None:
        path = self._path(key)
        data = path.read_bytes() if path.exists() else None
        with self._lock:
            self._read.append((key, data))

    def _path(self, key: PayloadKey) -> Path:
        # A payload's name is a client's word, which must not choose a path.
        return self._payloads / f"{key.task_id}-{key.direction}-{key.name.encode().hex()}"
