"""The SQLite database of a journal: its tables, and every statement.

``task`` and ``payload`` are the present, read once at start; ``log`` is the past, for auditors.
One connection, used by one thread at a time, in exclusive locking mode: with a second connection
SQLite before 3.51.3 may lose commits while checkpointing, and no other program needs one.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from attrs import frozen

from paintmq.broker.records import Record
from paintmq.broker.stores.failpoints import failpoint
from paintmq.broker.stores.restoring import TaskRow, checked_row
from paintmq.broker.stores.row_batch import RowBatch, payload_check
from paintmq.broker.stores.rows import checksum
from paintmq.broker.stores.store import Direction, PayloadKey
from paintmq.broker.stores.story import BOOTED, LogRow, read_row
from paintmq.errors import StoreError
from paintmq.process import private_files
from paintmq.task import TaskId

SQLITE_VERSION = sqlite3.sqlite_version
DATABASE_NAME = "paintmq.db"
SCHEMA_VERSION = 2
"""Since 2, digests may be XXH3, and payload files have numbers of their own. Nothing else changed,
so a journal of version 1 is read as it is; an older program would take these digests for damage."""

LOG_LOOKED_AT = 100_000
"""Records at the end of the log that are checked for gaps at the start: counting a long log in full
would make every start slow."""

VARIABLES = 512
"""Tasks named in one statement: SQLite allows 999 variables, where it is old."""

RECORDS_LOOKED_AT = 200_000
"""Records at the end of the log from which statistics are counted on: a few seconds of a start."""

PAGES_A_STEP = 256
"""Pages that a backup copies between two commits: a mebibyte, a few milliseconds."""

_SCHEMA = """
CREATE TABLE task (
    id TEXT PRIMARY KEY,
    accepted INTEGER NOT NULL,      -- sequence of its acceptance
    request BLOB NOT NULL,
    request_check BLOB NOT NULL,
    sequence INTEGER NOT NULL,      -- sequence of its last change
    status BLOB NOT NULL,
    status_check BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE payload (
    task TEXT NOT NULL,
    direction TEXT NOT NULL,        -- 'in' or 'out'
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    digest TEXT NOT NULL,           -- of the data; without data, the name of its file
    data BLOB,                      -- NULL: in the file blobs/ab/<digest>
    row_check BLOB NOT NULL,
    UNIQUE (task, direction, name)
);
CREATE INDEX payload_file ON payload (digest) WHERE data IS NULL;
CREATE TABLE log (
    sequence INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    record BLOB NOT NULL,
    row_check BLOB NOT NULL
);
"""


_SETTING = """
CREATE TABLE IF NOT EXISTS setting (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    row_check BLOB NOT NULL
) WITHOUT ROWID
"""


@frozen
class StoredPayload:
    """A row of ``payload`` whose checksum was right."""

    size: int
    digest: str
    data: bytes | None


class Database:
    """An open database."""

    def __init__(self, path: Path, *, synchronous: Literal["FULL", "NORMAL"]) -> None:
        self._path = path
        self._pid = os.getpid()
        self.uncheckpointed = True
        """Whether the write-ahead log may hold something that the database does not."""
        self._last_sequence = 0
        self._log_start: tuple[int, float] | None = None
        """First row of the log; None: not known, read it again."""
        private_files.make(path)  # what SQLite puts beside it gets the same mode
        # Opened by the broker's thread, then used by the writer's thread alone.
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=0.5
        )
        try:
            self._prepare(synchronous)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, synchronous: str) -> None:
        run = self._connection.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        version = run("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"the journal {self._path} was written by a newer PaintMQ (schema {version}, this "
                f"one knows {SCHEMA_VERSION}): update PaintMQ, or use another journal "
                "(broker.journal)"
            )
        if version == 0:  # later it would write, although it is set; a full disk refuses that
            run("PRAGMA auto_vacuum = INCREMENTAL")
        run("PRAGMA journal_mode = WAL")
        run(f"PRAGMA synchronous = {synchronous}")
        run("PRAGMA wal_autocheckpoint = 0")
        run("PRAGMA cell_size_check = ON")
        if version == 0:
            failpoint("schema.before_begin")
            run("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";\n"):
                run(statement)
            run(f"PRAGMA user_version = {SCHEMA_VERSION}")
            failpoint("schema.before_commit")
            run("COMMIT")
            failpoint("schema.after_commit")
        elif version < SCHEMA_VERSION:
            run(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        # In a forked child it is the parent's: closing it would remove the write-ahead log.
        if os.getpid() == self._pid:
            self._connection.close()

    # ---- reading -------------------------------------------------------------------------------

    def last_entry(self) -> tuple[int, float]:
        """Return sequence and broker time of the last committed record, or zeros."""
        row = self._connection.execute(
            "SELECT sequence, at FROM log ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        self._last_sequence = row[0] if row else 0
        return (row[0], row[1]) if row else (0, 0.0)

    def changes(self) -> str | None:
        """Return the settings that operators changed; None if the row is damaged."""
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'setting'"
        if not self._connection.execute(tables).fetchone()[0]:
            return ""
        row = self._connection.execute("SELECT value, row_check FROM setting").fetchone()
        if row is None:
            return ""
        return row[0].decode() if checksum(row[0]) == row[1] else None

    def missing_log_rows(self) -> int:
        """Return how many of the last ``LOG_LOOKED_AT`` rows are missing in the log."""
        first, last, count = self._connection.execute(
            "SELECT min(sequence), max(sequence), count(*) FROM log "
            "WHERE sequence > (SELECT max(sequence) FROM log) - ?",
            (LOG_LOOKED_AT,),
        ).fetchone()
        return last - first + 1 - count if count else 0

    def tasks(self) -> Iterator[TaskRow]:
        """Give every task, in order of acceptance."""
        rows = self._connection.execute(
            "SELECT id, request, request_check, sequence, status, status_check FROM task "
            "ORDER BY accepted"
        )
        for task_id, *columns in rows:
            yield checked_row(str(task_id), *columns)

    def payloads_of(self, tasks: Sequence[str]) -> dict[PayloadKey, StoredPayload]:
        """Return the payloads of up to ``VARIABLES`` tasks, without what lies in their rows (it is
        ``b""`` here). One whose checksum is wrong is left out.
        """
        some = _padded(tasks)
        rows = self._connection.execute(
            "SELECT task, direction, name, size, digest, data IS NOT NULL, row_check FROM payload "
            f"WHERE task IN ({', '.join('?' * len(some))})",
            some,
        )
        found = {}
        for task_id, direction, name, size, digest, inline, row_check in rows:
            key = PayloadKey(task_id, direction, name)
            if row_check == payload_check(key, size, digest, inline=bool(inline)):
                found[key] = StoredPayload(size, digest, b"" if inline else None)
        return found

    def payload(self, key: PayloadKey) -> StoredPayload | None:
        """Return a payload's row; None if there is none, or its checksum is wrong."""
        row = self._connection.execute(
            "SELECT size, digest, data, row_check FROM payload "
            "WHERE task = ? AND direction = ? AND name = ?",
            (key.task_id, key.direction, key.name),
        ).fetchone()
        if row is None:
            return None
        size, digest, data, row_check = row
        if row_check != payload_check(key, size, digest, inline=data is not None):
            return None
        return StoredPayload(size, digest, data)

    def names_file(self, digest: str) -> bool:
        """Return whether a payload lies in the file of this digest."""
        found = self._connection.execute(
            "SELECT 1 FROM payload WHERE digest = ? AND data IS NULL LIMIT 1", (digest,)
        ).fetchone()
        return found is not None

    def changes_of(self, task_id: TaskId) -> tuple[int, int] | None:
        """Return the sequences of a task's acceptance and last change; None if it is unknown."""
        row = self._connection.execute(
            "SELECT accepted, sequence FROM task WHERE id = ?", (task_id,)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def log_of(self, task_id: TaskId, first: int, last: int) -> list[LogRow]:
        """Return the rows of a part of the log that tell of a task or of the broker's starts."""
        return log_of(self._connection, task_id, first, last)

    def records_after(self, sequence: int) -> tuple[Record, ...]:
        """Return the last ``RECORDS_LOOKED_AT`` records of the log at most, those after this one.

        What the disk changed is left out.
        """
        last, _ = self.last_entry()
        rows = self._connection.execute(
            "SELECT sequence, at, record, row_check FROM log WHERE sequence > ? ORDER BY sequence",
            (max(sequence, last - RECORDS_LOOKED_AT),),
        )
        return tuple(found.record for row in rows if (found := read_row(*row)) is not None)

    # ---- writing -------------------------------------------------------------------------------

    def begin(self) -> None:
        failpoint("commit.before_begin")
        self._connection.execute("BEGIN IMMEDIATE")
        failpoint("commit.after_begin")

    def commit(self) -> None:
        failpoint("commit.before_commit")
        self._connection.execute("COMMIT")
        self.uncheckpointed = True
        failpoint("commit.after_commit")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def write(self, batch: RowBatch) -> list[str]:
        """Write records; return the digests of files that may no longer be needed after them."""
        run_all = self._connection.executemany
        run_all("INSERT INTO log VALUES (?, ?, ?, ?)", batch.log)
        self._last_sequence = batch.last_sequence
        failpoint("commit.after_log_row")
        if batch.purged:
            run_all("DELETE FROM task WHERE id = ?", [(task_id,) for task_id in batch.purged])
            failpoint("purge.after_task_row")
        freed = batch.freed + self._forget_payloads(batch.forgotten)
        run_all("INSERT INTO task VALUES (?, ?, ?, ?, ?, ?, ?)", batch.new_tasks())
        run_all(
            "UPDATE task SET sequence = ?, status = ?, status_check = ? WHERE id = ?",
            batch.changed_tasks(),
        )
        run_all("INSERT OR REPLACE INTO payload VALUES (?, ?, ?, ?, ?, ?, ?)", batch.new_payloads())
        if batch.changes is not None:
            self._connection.execute(_SETTING)  # journals of earlier versions lack it
            row = batch.changes, checksum(batch.changes)
            self._connection.execute("INSERT OR REPLACE INTO setting VALUES ('changes', ?, ?)", row)
        failpoint("commit.after_record")
        return freed

    def _forget_payloads(self, forgotten: Iterable[tuple[Direction, TaskId]]) -> list[str]:
        digests: list[str] = []
        tasks: dict[Direction, list[TaskId]] = {}
        for direction, task_id in forgotten:
            tasks.setdefault(direction, []).append(task_id)
        for direction, task_ids in tasks.items():
            for first in range(0, len(task_ids), VARIABLES):
                some = _padded(task_ids[first : first + VARIABLES])
                where = f"WHERE direction = ? AND task IN ({', '.join('?' * len(some))})"
                rows = self._connection.execute(
                    f"SELECT digest FROM payload {where} AND data IS NULL", (direction, *some)
                )
                digests += [digest for (digest,) in rows.fetchall()]
                self._connection.execute(f"DELETE FROM payload {where}", (direction, *some))
        return digests

    # ---- upkeep, in idle moments ---------------------------------------------------------------

    def checkpoint(self, *, truncate: bool = False) -> None:
        """Move what is in the write-ahead log into the database."""
        failpoint("checkpoint.before")
        self._connection.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if truncate else 'PASSIVE'})")
        self.uncheckpointed = False
        failpoint("checkpoint.after")

    def wal_bytes(self) -> int:
        try:
            return self._path.with_name(self._path.name + "-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def copy_to(self, path: Path, *, between: Callable[[], None]) -> None:
        """Copy the database as it is at the end of this call, a step at a time.

        ``between`` is called after every step and may write: what it changes is copied too.
        """
        with contextlib.closing(sqlite3.connect(path)) as copy:
            self._connection.backup(
                copy, pages=PAGES_A_STEP, progress=lambda status, left, total: between(), sleep=0
            )

    def prune_log(self, *, before: float, keep: int, at_most: int) -> int:
        """Delete records older than ``before`` and all but the last ``keep``, oldest first and at
        most ``at_most`` of them; return how many. The last record always stays: it holds the
        sequence. Where there is nothing to delete, no statement is run.
        """
        if self._log_start is None:
            self._log_start = self._connection.execute(
                "SELECT sequence, at FROM log ORDER BY sequence LIMIT 1"
            ).fetchone()
        if self._log_start is None:
            return 0
        (first, at), last = self._log_start, self._last_sequence
        if first == last or (first > last - keep and at >= before):
            return 0
        failpoint("prune.before")
        cursor = self._connection.execute(
            "DELETE FROM log WHERE sequence < ? AND (at < ? OR sequence <= ?)",
            (min(first + at_most, last), before, last - keep),
        )
        failpoint("prune.after")
        self._log_start = None
        return cursor.rowcount

    def give_back_pages(self, at_most: int) -> int:
        """Return up to ``at_most`` free pages to the file system; return how many are left."""
        self._connection.execute(f"PRAGMA incremental_vacuum({at_most})").fetchall()
        return int(self._connection.execute("PRAGMA freelist_count").fetchone()[0])


def _padded(names: Sequence[str]) -> list[str]:
    """Return the same, the last repeated: of few lengths, so that statements are prepared once."""
    return [*names, *[names[-1]] * ((1 << (len(names) - 1).bit_length()) - len(names))]


def log_of(connection: sqlite3.Connection, task_id: TaskId, first: int, last: int) -> list[LogRow]:
    """Return the rows of a part of a log that tell of a task or of the broker's starts."""
    rows = connection.execute(
        "SELECT sequence, at, record, row_check FROM log WHERE sequence BETWEEN ? AND ? "
        "AND (instr(record, ?) OR instr(record, ?) = 1) ORDER BY sequence",
        (first, last, task_id.encode(), BOOTED),
    )
    return [found for row in rows if (found := read_row(*row)) is not None]
