"""The thread that writes: group commit in one round trip, each behind the fence.

Whatever is queued when a commit ends makes the next one, so batches grow with the load and with the
distance to the database.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
from attrs import frozen
from psycopg import errors

from paintmq.digests import digest_of
from paintmq.errors import LeadLostError, StoreError
from paintmq.storing import (
    BlobFolder,
    Buffer,
    Entry,
    NewPayload,
    PayloadKey,
    RowBatch,
    checksum,
)
from paintmq.units import MIB
from paintmq_plugins.postgres.leadership import Leadership
from paintmq_plugins.postgres.pruning import LogPruning
from paintmq_plugins.postgres.schema import is_lost
from paintmq_plugins.postgres.sessions import Connection, Place, Session, is_gone

logger = logging.getLogger("paintmq.postgres")

BATCH_RECORDS = 2048
BATCH_BYTES = 8 * MIB
RETRY_SECONDS = 0.2
FULL_SECONDS = 1.0
"""Between two attempts while the disk of the database is full."""

_TRANSIENT = (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled)
"""The transaction was undone, and may be repeated as it was."""


@frozen
class _Queued:
    """An entry, and its payloads: large ones are being written to files already."""

    entry: Entry
    payloads: list[tuple[PayloadKey, Buffer, "Future[str] | None"]]
    size: int


class Writer:
    """Commits what it is given, in order; its methods are the broker thread's to call."""

    def __init__(
        self,
        place: Place,
        leadership: Leadership,
        blobs: BlobFolder | None,
        *,
        durable: bool,
        durable_sequence: int,
        inline_bytes: int,
        wake: Callable[[], None],
    ) -> None:
        self._place = place
        self._leadership = leadership
        self._blobs = blobs
        self._inline_bytes = inline_bytes
        self._wake = wake
        self._session = Session(place, durable=durable)
        self._pruning = LogPruning()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="paintmq-payload")
        self._thread = threading.Thread(target=self._run, name="paintmq-journal", daemon=True)
        self._stopped = threading.Event()
        """Nothing more can be written: the store has failed, or is closed in a hurry."""
        self._changed = threading.Condition()
        self._queue: deque[_Queued] = deque()
        self._closing = False
        self.durable = durable_sequence
        self.disk_full = False

    # ---- the broker's thread -------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def append(self, entries: Sequence[Entry]) -> None:
        queued = [self._queued(entry) for entry in entries]
        with self._changed:
            self._queue.extend(queued)
            self._changed.notify()

    def _queued(self, entry: Entry) -> _Queued:
        payloads: list[tuple[PayloadKey, Buffer, Future[str] | None]] = []
        size = 0
        for key, data in entry.payloads:
            length = memoryview(data).nbytes
            size += length
            file = None
            if self._blobs is not None and length > self._inline_bytes:
                file = self._pool.submit(self._blobs.write, data)
            payloads.append((key, data, file))
        return _Queued(entry, payloads, size)

    def close(self) -> None:
        """Commit what is queued and end the thread, unless the lead or the database is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        while self._thread.is_alive():
            self._thread.join(0.1)
            try:
                self._leadership.check()
            except StoreError:
                self._stopped.set()
                self._session.cut()
                self._thread.join()
        self._session.close()
        self._pool.shutdown()

    # ---- the writer's thread -------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (batch := self._take_batch()) or not self._closing:
                if batch:
                    self._commit(batch)
                self._pruning.prune(self._session, self.durable)
        except StoreError as error:
            self._fail(error)
        except (psycopg.Error, OSError) as error:
            self._fail(self._place.refused(error))

    def _fail(self, error: StoreError) -> None:
        if not self._stopped.is_set():
            logger.error("%s", error)
        self._stopped.set()
        self._leadership.lose(error)
        self._wake()

    def _take_batch(self) -> list[_Queued]:
        """Wait for entries, and return as many as one commit takes; none: there is time."""
        with self._changed:
            if not self._queue and not self._closing:
                self._changed.wait(self._pruning.wait)
            batch: list[_Queued] = []
            size = 0
            while self._queue and len(batch) < BATCH_RECORDS and size < BATCH_BYTES:
                batch.append(self._queue.popleft())
                size += batch[-1].size
            return batch

    def _commit(self, batch: list[_Queued]) -> None:
        rows = RowBatch()
        files: list[str] = []
        for queued in batch:
            payloads = [self._payload(*each) for each in queued.payloads]
            files += [new.digest for new in payloads if new.data is None]
            rows.add(queued.entry, payloads)
        if self._blobs is not None:
            self._blobs.sync_folders(files)
        freed = self._written(rows, first=batch[0].entry.sequence)
        self.durable = rows.last_sequence
        self._pruning.committed(len(batch), at=batch[-1].entry.at)
        self._wake()
        if self._blobs is not None:
            self._blobs.unpin(files)
            # No row names these, and none ever will again: each file belongs to one payload.
            self._blobs.remove([*freed, *rows.freed], is_named=lambda name: False)

    def _payload(self, key: PayloadKey, data: Buffer, file: "Future[str] | None") -> NewPayload:
        size = memoryview(data).nbytes
        if file is not None:
            try:
                return NewPayload(key, size, file.result(), None)
            except OSError as error:
                logger.warning("a payload is kept in the database, not as a file: %s", error)
        return NewPayload(key, size, digest_of(data), data)

    def _written(self, rows: RowBatch, *, first: int) -> list[str]:
        """Commit the rows and return the files that they free, however often that takes.

        A transaction that the database has undone may be repeated. Where the answer did not come,
        the log tells whether it was committed, once its session cannot commit any more.
        """
        in_doubt = 0
        while True:
            if self._stopped.is_set():
                raise LeadLostError("the journal was closed before everything was written")
            try:
                connection = self._session.get()
                if in_doubt and self._is_committed(connection, in_doubt, first, rows):
                    return []  # what they free is swept away later
                in_doubt = connection.info.backend_pid
                freed = _transaction(connection, rows, self._leadership.epoch)
            except psycopg.Error as error:
                if is_lost(error):
                    raise LeadLostError(f"this broker no longer leads: {error}") from error
                self._wait_after(error)
            else:
                self.disk_full = False
                return freed

    def _is_committed(
        self, connection: Connection, in_doubt: int, first: int, rows: RowBatch
    ) -> bool:
        if connection.info.backend_pid != in_doubt:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
                "WHERE pid = %s AND application_name = %s",
                (in_doubt, self._place.application),
            )
        with connection.transaction():
            connection.execute("SELECT 1 FROM leader FOR UPDATE")  # waits for what has the fence
            row = connection.execute("SELECT coalesce(max(sequence), 0) FROM log").fetchone()
        assert row is not None
        last = int(row[0])
        if last not in (first - 1, rows.last_sequence):
            raise StoreError(
                f"the journal in {self._place.shown} ends at record {last}, but {first - 1} was "
                f"committed: the database has lost records"
            )
        return last == rows.last_sequence

    def _wait_after(self, error: psycopg.Error) -> None:
        """Wait before the next attempt.

        Raises:
            psycopg.Error: there is no use in one.
        """
        if isinstance(error, errors.DiskFull | errors.OutOfMemory):
            if not self.disk_full:
                logger.error("the database has no room: %s", error)
            self.disk_full = True
            self._wake()
            self._stopped.wait(FULL_SECONDS)
        elif is_gone(error) or isinstance(error, _TRANSIENT):
            logger.warning("a commit is repeated: %s", str(error).strip())
            if is_gone(error):
                self._session.close()
            self._stopped.wait(RETRY_SECONDS)
        else:
            raise error


def _transaction(connection: Connection, rows: RowBatch, epoch: int) -> list[str]:
    """Commit the rows in one round trip; return the files of the payloads that go."""
    run = connection.execute
    try:
        with connection.pipeline():
            run("BEGIN")
            run("SELECT fence(%s)", (epoch,))
            forgotten = [
                run(
                    "DELETE FROM payload WHERE task = ANY(%b) AND direction = %b "
                    "RETURNING CASE WHEN data IS NULL THEN digest END",
                    (tasks, direction),
                )
                for direction in ("in", "out")
                if (tasks := [task for which, task in rows.forgotten if which == direction])
            ]
            _write(connection, rows)
            run("COMMIT")
    except BaseException:
        if not connection.closed and not connection.broken:
            run("ROLLBACK")
        raise
    return [name for cursor in forgotten for (name,) in cursor if name is not None]


def _write(connection: Connection, rows: RowBatch) -> None:
    run = connection.execute
    if rows.purged:
        run("DELETE FROM task WHERE id = ANY(%b)", (list(rows.purged),))
    if new := rows.new_tasks():
        run(
            "INSERT INTO task SELECT * FROM unnest(%b::text[], %b::int8[], %b::bytea[], "
            "%b::bytea[], %b::int8[], %b::bytea[], %b::bytea[])",
            _columns(new),
        )
    if changed := rows.changed_tasks():
        run(
            "UPDATE task SET sequence = new.sequence, status = new.status, "
            "status_check = new.status_check FROM unnest(%b::int8[], %b::bytea[], %b::bytea[], "
            "%b::text[]) AS new(sequence, status, status_check, id) WHERE task.id = new.id",
            _columns(changed),
        )
    if payloads := rows.new_payloads():
        run(
            "INSERT INTO payload SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], "
            "%b::int8[], %b::text[], %b::bytea[], %b::bytea[])",
            _columns(payloads),
        )
    if rows.changes is not None:
        run(
            "INSERT INTO setting VALUES ('changes', %b, %b) ON CONFLICT (name) DO UPDATE "
            "SET value = excluded.value, row_check = excluded.row_check",
            (rows.changes, checksum(rows.changes)),
        )
    run(
        "INSERT INTO log SELECT * FROM unnest(%b::int8[], %b::float8[], %b::bytea[], %b::bytea[])",
        _columns(rows.log),
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
