"""The store: what a broker finds in the database, and its two threads."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from paintmq.errors import StoreError
from paintmq.storing import (
    BlobFolder,
    Collected,
    Entry,
    Leader,
    PayloadKey,
    Recovered,
    Store,
    StoredTask,
    StoryLine,
    checked_row,
    checksum,
    payload_check,
    read_row,
    restore,
)
from paintmq.task import PayloadInfo, TaskId
from paintmq_plugins.postgres import PostgresSettings
from paintmq_plugins.postgres.leadership import Leadership
from paintmq_plugins.postgres.payload_folder import open_folder
from paintmq_plugins.postgres.reader import Reader
from paintmq_plugins.postgres.sessions import Connection, Place
from paintmq_plugins.postgres.writer import Writer

RECORDS_LOOKED_AT = 200_000
"""Records at the end of the log from which statistics are counted on."""
ROWS_AT_ONCE = 5000


class PostgresStore(Store):
    """A journal in a PostgreSQL database that several brokers share, of which one leads."""

    keeps_payloads: ClassVar[bool] = True

    def __init__(self, address: str, settings: PostgresSettings) -> None:
        self._settings = settings
        self._place = Place.of(address, settings.schema, settings.lease)
        self._leadership = Leadership(self._place, lease=settings.lease, patience=settings.patience)
        self._writer: Writer | None = None
        self._reader: Reader | None = None

    def claim(self, name: str, address: str) -> Leader | None:
        return self._leadership.claim(name, address)

    def confirm(self) -> bool:
        return self._leadership.confirm()

    def open(self, wake: Callable[[], None]) -> Recovered:
        if (leader := self._leadership.claim("a broker", "")) is not None:
            self._leadership.release()
            raise StoreError(f"the journal in {self._place.shown} is in use: {leader}")
        durable = self.durability == "full"
        try:
            return self._open(wake, durable=durable)
        except BaseException:
            self._leadership.release()
            raise

    def _open(self, wake: Callable[[], None], *, durable: bool) -> Recovered:
        try:
            with contextlib.closing(self._place.connect()) as connection:
                blobs = open_folder(self._settings.payloads, connection, sync=durable)
                recovered = self._recover(connection, blobs)
        except psycopg.Error as error:
            raise self._place.refused(error) from error
        self._reader = Reader(self._place, self._leadership, blobs, wake=wake)
        self._writer = Writer(
            self._place,
            self._leadership,
            blobs,
            durable=durable,
            durable_sequence=recovered.durable_sequence,
            inline_bytes=self._settings.inline_bytes,
            wake=wake,
        )
        self._reader.start()
        self._writer.start()
        return recovered

    def append(self, entry: Entry) -> None:
        self._opened().append((entry,))

    def append_all(self, entries: Sequence[Entry]) -> None:
        self._opened().append(entries)

    def fetch(self, key: PayloadKey) -> None:
        self._opened()
        assert self._reader is not None
        self._reader.fetch(key)

    def collect(self) -> Collected:
        writer = self._opened()
        assert self._reader is not None
        self._leadership.check()
        return Collected(
            durable_sequence=writer.durable,
            payloads=self._reader.take(),
            disk_full=writer.disk_full,
        )

    def story(self, task_id: TaskId) -> Sequence[StoryLine] | None:
        self._opened()
        assert self._reader is not None
        return self._reader.story(task_id)

    def back_up(self, path: Path) -> Any:
        raise StoreError(
            f"the journal is in {self._place.shown}: back it up with pg_dump, and with it the "
            f"folder of payloads, if there is one"
        )

    def close(self) -> None:
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        try:
            if writer is not None:
                writer.close()
                self._leadership.check()
        finally:
            if reader is not None:
                reader.close()
            self._leadership.release()

    def _opened(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"the journal in {self._place.shown} is not open")
        return self._writer

    # ---- recovery ------------------------------------------------------------------------------

    def _recover(self, connection: Connection, blobs: BlobFolder | None) -> Recovered:
        """Read everything as of one moment; the epoch was raised before, so nothing can follow."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row = connection.execute(
                "SELECT sequence, at FROM log ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            sequence, last_time = (int(row[0]), float(row[1])) if row else (0, 0.0)
            notes = []
            if (changes := _changes(connection)) is None:
                notes.append("what operators changed in queues is damaged: the settings' are used")
            is_there = _Payloads(connection, blobs).is_there
            tasks: list[StoredTask] = []
            damaged: list[TaskId] = []
            for columns in _rows(
                connection,
                "SELECT id, request, request_check, sequence, status, status_check FROM task "
                "ORDER BY accepted",
            ):
                task, whole = restore(checked_row(*columns), is_there, last_time)
                tasks.append(task)
                if not whole:
                    damaged.append(task.request.id)
            return Recovered(
                tasks=tuple(tasks),
                durable_sequence=sequence,
                last_time=last_time,
                damaged=tuple(damaged),
                notes=tuple(notes),
                logged=self._logged(connection, sequence),
                changes=changes or "",
            )

    def _logged(self, connection: Connection, last: int) -> tuple[Any, ...]:
        if self._read_after is None:
            return ()
        rows = _rows(
            connection,
            "SELECT sequence, at, record, row_check FROM log WHERE sequence > %s ORDER BY sequence",
            (max(self._read_after, last - RECORDS_LOOKED_AT),),
        )
        return tuple(found.record for row in rows if (found := read_row(*row)) is not None)


class _Payloads:
    """Which payloads are stored; read at once, as a question each would take a round trip each."""

    def __init__(self, connection: Connection, blobs: BlobFolder | None) -> None:
        self._blobs = blobs
        self._known: dict[PayloadKey, tuple[int, str, bool]] = {}
        for *names, size, digest, inline, row_check in _rows(
            connection,
            "SELECT task, direction, name, size, digest, data IS NOT NULL, row_check FROM payload",
        ):
            key = PayloadKey(*names)
            if row_check == payload_check(key, size, digest, inline=inline):
                self._known[key] = size, digest, inline

    def is_there(self, key: PayloadKey, info: PayloadInfo) -> bool:
        found = self._known.get(key)
        if found is None or found[0] != info.size:
            return False
        size, digest, inline = found
        return inline or (self._blobs is not None and self._blobs.has(digest, size))


def _rows(connection: Connection, query: str, parameters: tuple[object, ...] = ()) -> Any:
    """Give the rows of a query, of which not all are in memory at once."""
    with connection.cursor(name="recovery") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(query, parameters, binary=True)
        yield from cursor


def _changes(connection: Connection) -> str | None:
    """Return the settings that operators changed; None if the row is damaged."""
    row = connection.execute("SELECT value, row_check FROM setting").fetchone()
    if row is None:
        return ""
    return bytes(row[0]).decode() if checksum(row[0]) == row[1] else None
