"""Reads the log of a journal without changing it, also beside a running broker.

The journal of a running broker is locked against other readers, so its files are copied first: the
database, then its write-ahead log. Whatever the copy of the database missed or caught half written
is in the write-ahead log, unless the broker restarted that log meanwhile; its header shows that,
and then the copy is made again.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from paintmq.broker.records import StoredTask
from paintmq.broker.stores.database import DATABASE_NAME, log_of
from paintmq.broker.stores.rows import checksum, decode_request
from paintmq.broker.stores.story import StoryLine, tell
from paintmq.errors import StoreError
from paintmq.task import TaskId
from paintmq.task_status import TaskStatus

COPIES = 5
"""How often a journal in use is copied before giving up."""
WAL_HEADER = 32
"""Bytes; two numbers in it change whenever the log restarts."""


def read_past(path: Path) -> list[StoredTask]:
    """Return all tasks of the log with their last status, in order of acceptance.

    Those that were forgotten since are among them, as long as the log reaches back. ``path``: the
    journal's folder or its database, or a backup; a broker may be using it.

    Raises:
        StoreError: it is no journal, or cannot be read.
    """
    with _opened(path) as database:
        return _accepted(database)


def read_story(path: Path, task_id: TaskId) -> list[StoryLine]:
    """Return the story of one task, as far back as the log reaches; empty if it has none.

    Raises:
        StoreError: it is no journal, or cannot be read.
    """
    with _opened(path) as database:
        last = database.execute("SELECT max(sequence) FROM log").fetchone()[0] or 0
        return tell(task_id, log_of(database, task_id, 0, last))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    folder = path.parent if path.name == DATABASE_NAME else path
    if not (folder / DATABASE_NAME).is_file():
        raise StoreError(f"{path} is no journal: there is no {DATABASE_NAME}")
    try:
        with _readable(folder) as database:
            yield database
    except (OSError, sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"the journal {path} cannot be read: {error}") from error


def _accepted(database: sqlite3.Connection) -> list[StoredTask]:
    """Return the tasks of the log, those forgotten since too, with their last status."""
    requests: dict[str, Any] = {}
    statuses: dict[str, Any] = {}
    rows = database.execute("SELECT sequence, at, record, row_check FROM log ORDER BY sequence")
    for sequence, at, record, row_check in rows:
        if checksum(str(sequence).encode(), repr(at).encode(), record) != row_check:
            continue  # the disk changed it
        fields = msgspec.json.decode(record)
        if fields["record"] == "TaskAccepted":
            requests[fields["task_id"]] = fields["request"]
        if "status" in fields:
            statuses[fields["task_id"]] = fields["status"]
    return [
        StoredTask(
            decode_request(msgspec.json.encode(request)),
            msgspec.convert(statuses[task_id], TaskStatus),
        )
        for task_id, request in requests.items()
    ]


@contextmanager
def _readable(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the database, or a copy of it while a broker uses it; nothing in the folder changes."""
    database = folder / DATABASE_NAME
    if not _log(database).exists():  # closed properly, or a backup
        with closing(
            sqlite3.connect(f"{database.absolute().as_uri()}?immutable=1", uri=True)
        ) as it:
            yield it
        return
    with TemporaryDirectory(prefix="paintmq-journal-") as temporary:
        copy = Path(temporary) / DATABASE_NAME
        _copy(database, copy)
        with closing(sqlite3.connect(copy)) as it:
            yield it


def _copy(database: Path, copy: Path) -> None:
    for _ in range(COPIES):
        before = _log_header(database)
        shutil.copyfile(database, copy)
        shutil.copyfile(_log(database), _log(copy))
        if _log_header(database) == before:
            return
    raise OSError("its broker writes too much; take a copy with paintmq backup, and read that")


def _log(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


def _log_header(database: Path) -> bytes:
    with _log(database).open("rb") as file:
        return file.read(WAL_HEADER)
