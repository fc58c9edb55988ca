"""The file ``statistics.db`` beside a journal: counts that survive a restart, and their history.

It is a file of its own, so that it never delays a commit of the journal, and may be deleted: the
counts then begin anew. A thread of its own writes it; whatever is wrong with it is told once, and
the broker goes on without.
"""

import json
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from paintmq.broker.accounting.chronicle import Series
from paintmq.broker.stores import history_table
from paintmq.broker.stores.history_table import HistoryTable, Stretch, Wanted
from paintmq.process import private_files
from paintmq.statistics import is_worth_a_line
from paintmq.task import Json

SCHEMA_VERSION = 1
LAST_WORDS = 5.0
"""Seconds that closing may take."""
MOST_WAITING = 64
"""Writings that may wait for a slow disk; further ones are left out."""

MOST_ANSWERS = 32
"""Answers that wait to be fetched; the oldest goes first."""

_BOOKS = """
CREATE TABLE IF NOT EXISTS books (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), json TEXT)
"""

logger = logging.getLogger(__name__)

Work = Callable[[sqlite3.Connection], None]


class StatisticsFile:
    """Call ``open`` first; then any method of any thread."""

    def __init__(self, path: Path | None) -> None:
        """``path``: None keeps everything in memory."""
        self.path = path
        self.failures = 0
        """How often something could not be written or read."""
        self._connection: sqlite3.Connection | None = None
        self._history = HistoryTable()
        self._answers: dict[Wanted, Json] = {}
        """Of questions about the history; None: it is being read."""
        self._work: queue.Queue[Work | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="paintmq-statistics", daemon=True)

    def open(self) -> None:
        """Create the file if need be. What is damaged or of a newer version is not touched."""
        try:
            self._connection = self._connect()
        except (sqlite3.Error, OSError) as error:
            self.failed(error)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None:
            private_files.make(self.path)
        name = ":memory:" if self.path is None else str(self.path)
        connection = sqlite3.connect(
            name, isolation_level=None, check_same_thread=False, timeout=0.5
        )
        try:
            _check_version(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(_BOOKS)
            connection.execute(history_table.SCHEMA)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except BaseException:
            connection.close()
            raise
        return connection

    def write_books(self, books: dict[str, Any]) -> None:
        """Write the counts, soon. Never waits."""
        self.do(lambda connection: _put(connection, books))

    def write_points(self, points: Mapping[Series, Stretch], now: float) -> None:
        """Add points to the history, soon. Never waits."""
        self.do(lambda connection: self._history.write(connection, points, now))

    def read_history(self, wanted: Wanted) -> Json:
        """Return a part of the history; None: it is being read, ask again. Never waits."""
        if self._answers.get(wanted) is not None:
            return self._answers.pop(wanted)
        if wanted not in self._answers and self.do(partial(self._read, wanted)):
            self._answers[wanted] = None
            while len(self._answers) > MOST_ANSWERS:
                del self._answers[next(iter(self._answers))]
        return None

    def _read(self, wanted: Wanted, connection: sqlite3.Connection) -> None:
        try:
            self._answers[wanted] = self._history.read(connection, wanted)
        except BaseException:
            self._answers[wanted] = {"length": wanted.length, "points": []}
            raise

    def do(self, work: Work) -> bool:
        """Have the file's thread do something with the database; False if it is far behind."""
        try:
            self._work.put_nowait(work)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Write what is left, and close. Harmless to repeat."""
        if self._thread.is_alive():
            try:
                self._work.put(None, timeout=LAST_WORDS)
                self._thread.join(LAST_WORDS)
            except queue.Full:
                logger.warning("the statistics in %s are written too slowly", self.path)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            if self._connection is not None:
                try:
                    work(self._connection)
                except (sqlite3.Error, OSError) as error:
                    self.failed(error)
        if self._connection is not None:
            self._connection.close()

    def failed(self, error: Exception) -> None:
        """Tell of a failure; of one that repeats ever more seldom."""
        self.failures += 1
        if is_worth_a_line(self.failures):
            logger.warning(
                "the statistics in %s cannot be kept: %s (%d failures so far); tasks are not "
                "affected. If the file is damaged, delete it: counting begins anew",
                self.path,
                error,
                self.failures,
            )


def _check_version(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise sqlite3.DatabaseError(
            f"it was written by a newer PaintMQ (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); move it away to begin another"
        )


def read_books_at(path: Path) -> Any:
    """Return the counts in the file at that path as JSON; None if there are none to be read."""
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=0.5)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                return None
            row = connection.execute("SELECT json FROM books").fetchone()
        return None if row is None else json.loads(row[0])
    except (sqlite3.Error, ValueError) as error:
        logger.warning("the statistics in %s cannot be read: %s", path, error)
        return None


def _put(connection: sqlite3.Connection, books: dict[str, Any]) -> None:
    connection.execute("INSERT OR REPLACE INTO books VALUES (1, ?)", (json.dumps(books),))
