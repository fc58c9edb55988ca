"""The thread that writes: group commit, payload files, disk-full handling, upkeep when idle.

Group commit needs no timer: whatever is queued when a commit ends makes the next one, so batches
grow with the load by themselves.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec

from paintmq.broker.stores.backup import Backup
from paintmq.broker.stores.blobs import BlobFolder
from paintmq.broker.stores.database import DATABASE_NAME, Database
from paintmq.broker.stores.disk_space import is_full, is_in_the_way
from paintmq.broker.stores.exhaustion import DISK_CHECK_SECONDS, Shortage
from paintmq.broker.stores.folder import StoreFolder
from paintmq.broker.stores.log_search import LogSearch
from paintmq.broker.stores.row_batch import NewPayload, RowBatch
from paintmq.broker.stores.store import BackupState, Collected, Entry, PayloadKey
from paintmq.broker.stores.story import StoryLine
from paintmq.broker.stores.upkeep import Upkeep
from paintmq.digests import digest_of, matches
from paintmq.errors import StoreError
from paintmq.task import Buffer, TaskId
from paintmq.units import MIB

logger = logging.getLogger(__name__)

BATCH_RECORDS = 512
BATCH_BYTES = 4 * MIB
INLINE_BYTES = 256 * 1024
"""A larger payload becomes a file: as a row it would be written twice, to the write-ahead log and
to the database, and hold up the commits behind it."""
IDLE_SECONDS = 0.05

FileWrites: TypeAlias = "list[tuple[PayloadKey, Buffer, Future[str] | None]]"


class _Queued(msgspec.Struct, frozen=True, gc=False):
    """An entry, and its payloads: those above the threshold are being written to files already."""

    entry: Entry
    payloads: FileWrites
    size: int


class Writer:
    """Owns the database once ``start`` was called; its methods are the broker thread's to call."""

    def __init__(
        self,
        database: Database,
        blobs: BlobFolder,
        folder: StoreFolder,
        *,
        durable_sequence: int,
        sync: bool,
        watermark: int | None,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._folder = folder
        self._wake = wake
        self._shortage = Shortage(
            folder, watermark=watermark, wake=wake, drop_spare=blobs.drop_spare
        )
        self._upkeep = Upkeep(
            database, blobs, folder, self._shortage, sync=sync, durable=durable_sequence
        )
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="paintmq-payload")
        self._thread = threading.Thread(target=self._run, name="paintmq-journal")
        # Everything below is shared and guarded by this.
        self._changed = threading.Condition()
        self._queue: deque[_Queued] = deque()
        self._fetches: deque[PayloadKey] = deque()
        self._fetched: list[tuple[PayloadKey, Buffer | None]] = []
        self._pending_bytes = 0
        self._durable = durable_sequence
        self._failure: StoreError | None = None
        self._closing = False
        self._backup: Backup | None = None
        self._backup_wanted = False
        self._stories = LogSearch()

    # ---- called by the broker's thread ---------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def append(self, entries: Iterable[Entry]) -> None:
        queued = [self._queued(entry) for entry in entries]
        with self._changed:
            self._queue.extend(queued)
            self._pending_bytes += sum([each.size for each in queued])
            self._changed.notify()

    def _queued(self, entry: Entry) -> _Queued:
        payloads: FileWrites = []
        size = 0
        for key, data in entry.payloads:
            length = memoryview(data).nbytes
            large = length > INLINE_BYTES
            # Files are written while earlier records still wait for their commit.
            payloads.append(
                (key, data, self._pool.submit(self._blobs.write, data) if large else None)
            )
            size += length
        return _Queued(entry, payloads, size)

    def fetch(self, key: PayloadKey) -> None:
        with self._changed:
            self._fetches.append(key)
            self._changed.notify()

    def collect(self) -> Collected:
        with self._changed:
            if self._failure is not None:
                raise self._failure
            fetched, self._fetched = tuple(self._fetched), []
            return Collected(
                durable_sequence=self._durable, payloads=fetched, disk_full=self._shortage.disk_full
            )

    def back_up(self, path: Path) -> BackupState:
        """Start a backup to that path, or return how far it is.

        Raises:
            StoreError: it cannot be made, or another is under way.
        """
        with self._changed:
            if self._backup is not None and self._backup.path == path:
                return self._backup.state
            if self._backup is not None and self._backup.is_running:
                raise StoreError(f"a backup to {self._backup.path} is under way")
            self._backup = Backup(path, DATABASE_NAME)
            self._backup_wanted = True
            self._changed.notify()
            return self._backup.state

    def story(self, task_id: TaskId) -> Sequence[StoryLine] | None:
        """Return a task's transitions from the log; None: they are being read, ask again."""
        with self._changed:
            story = self._stories.ask(task_id)
            self._changed.notify()
            return story

    def close(self) -> None:
        """Commit what is queued and end the thread; the database may be closed then.

        Raises:
            StoreError: not everything could be committed.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._shortage.end()
        if self._thread.ident is not None:
            self._thread.join()
        if self._backup is not None:
            self._backup.cancel()
        self._pool.shutdown()
        if self._failure is not None:
            raise self._failure

    # ---- the writer's thread -------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._work():
                pass
            self._upkeep.finish()
        except StoreError as error:
            self._fail(error)
        except (OSError, sqlite3.Error) as error:
            # A write or fsync that failed is never tried again: the kernel may have dropped the
            # pages and report success the second time.
            self._fail(StoreError(f"the journal {self._folder.path} cannot be written: {error}"))

    def _fail(self, error: StoreError) -> None:
        logger.error("%s", error)
        with self._changed:
            self._failure = error
        self._wake()

    def _work(self) -> bool:
        """Do what there is to do, or wait for it; return False when the thread should end."""
        with self._changed:
            wanted = self._stories.wanted
            idle = not (self._queue or self._fetches or self._closing or self._backup_wanted)
            if idle and wanted is None:
                self._changed.wait(IDLE_SECONDS if self._upkeep.due else DISK_CHECK_SECONDS)
            batch, fetches = self._take_batch(), list(self._fetches)
            self._fetches.clear()
            closing = self._closing
            backup_wanted, self._backup_wanted = self._backup_wanted, False
        for key in fetches:
            self._read(key)
        if batch:
            self._commit(batch)
        if wanted is not None:
            self._read_log(wanted)
        if backup_wanted:
            self._copy_for_backup()
        elif not batch and not fetches:
            if closing:
                return False
            if self._upkeep.due:
                self._upkeep.do_one(may_remove=not self._is_backing_up)
        if self._shortage.check_disk(pending=self._pending_bytes):
            self._upkeep.due = True
        self._upkeep.drop_spare()
        return True

    def _take_batch(self) -> list[_Queued]:
        batch: list[_Queued] = []
        size = 0
        while self._queue and len(batch) < BATCH_RECORDS and size < BATCH_BYTES:
            queued = self._queue.popleft()
            size += queued.size
            batch.append(queued)
        return batch

    def _commit(self, batch: list[_Queued]) -> None:
        rows = [(queued.entry, self._payload_rows(queued)) for queued in batch]
        files = [new.digest for _, payloads in rows for new in payloads if new.data is None]
        try:
            self._blobs.sync_folders(files)
        except OSError as error:
            if not self._shortage.is_of_files(error):
                raise
            self._blobs.unpin(files)  # no row names them: they are swept away later
            files = []
            rows = [
                (queued.entry, [_in_row(key, data) for key, data, _ in queued.payloads])
                for queued in batch
            ]
        commit = partial(self._transaction, rows)
        freed = self._shortage.with_space(commit, make_room=self._upkeep.make_room)
        last = batch[-1].entry
        self._upkeep.committed(last.sequence)
        with self._changed:
            self._durable = last.sequence
            self._pending_bytes -= sum(queued.size for queued in batch)
        self._wake()
        self._blobs.unpin(files)
        self._upkeep.clean_up(freed, may_remove=not self._is_backing_up)

    @property
    def _is_backing_up(self) -> bool:
        """Whether a backup may still need files that no row names any more."""
        return self._backup is not None and self._backup.is_running

    def _copy_for_backup(self) -> None:
        """Copy the database, and go on writing meanwhile."""
        assert self._backup is not None
        failure: list[BaseException] = []

        def go_on() -> None:
            try:
                with self._changed:
                    batch, fetches = self._take_batch(), list(self._fetches)
                    self._fetches.clear()
                for key in fetches:
                    self._read(key)
                if batch:
                    self._commit(batch)
            except BaseException as error:
                failure.append(error)
                raise

        self._backup.copy_database(partial(self._database.copy_to, between=go_on))
        if failure:
            raise failure[0]  # it is the journal that failed, not the copy
        if self._backup.is_running:
            self._backup.copy_files(self._blobs)

    def _payload_rows(self, queued: _Queued) -> list[NewPayload]:
        """Wait for the files of one entry; what cannot become a file becomes a row.

        A row is slower, but it needs no new file, so nothing waits until others close or remove
        theirs.
        """
        rows = []
        for key, data, future in queued.payloads:
            name = None if future is None else self._name_of_file(data, future)
            if name is None:
                rows.append(_in_row(key, data))
            else:
                rows.append(NewPayload(key, memoryview(data).nbytes, name, None))
        return rows

    def _name_of_file(self, data: Buffer, future: "Future[str]") -> str | None:
        """Return the name of the written file; None where no file can be made."""
        try:
            return future.result()
        except OSError as error:
            if self._takes_no_file(error):
                return None
            if not is_full(error):
                raise
            write = partial(self._write_unless_impossible, data)
            return self._shortage.with_space(write, make_room=self._upkeep.make_room)

    def _write_unless_impossible(self, data: Buffer) -> str | None:
        try:
            return self._blobs.write(data)
        except OSError as error:
            if not self._takes_no_file(error):
                raise
            return None

    def _takes_no_file(self, error: OSError) -> bool:
        """Return whether no file can be made, for another reason than lack of space."""
        if is_full(error):
            return self._folder.space().has_no_inodes
        return self._shortage.is_of_files(error) or is_in_the_way(error)

    def _transaction(self, rows: list[tuple[Entry, list[NewPayload]]]) -> list[str]:
        batch = RowBatch()
        for entry, payloads in rows:
            batch.add(entry, payloads)
        try:
            self._database.begin()
            freed = self._database.write(batch)
            self._upkeep.prune_within_commit(records=len(rows), at=rows[-1][0].at)
            self._database.commit()
        except BaseException:
            self._database.rollback()
            raise
        return freed

    # ---- reading payloads back -----------------------------------------------------------------

    def _read(self, key: PayloadKey) -> None:
        stored = self._database.payload(key)
        if stored is None:
            self._give(key, None)
        elif stored.data is not None:
            right = matches(stored.digest, stored.data)
            self._give(key, stored.data if right else None)
        else:
            digest, size = stored.digest, stored.size
            read = partial(self._blobs.read, digest, size)
            future = self._pool.submit(self._shortage.with_files, read)
            future.add_done_callback(lambda done: self._give_file(key, done))

    def _give_file(self, key: PayloadKey, done: "Future[memoryview | None]") -> None:
        if (error := done.exception()) is not None:
            logger.error("a payload of task %s cannot be read: %s", key.task_id, error)
            self._give(key, None)
        else:
            self._give(key, done.result())

    def _read_log(self, task_id: TaskId) -> None:
        story = self._stories.read_part(self._database, task_id)
        if story is not None:
            with self._changed:
                self._stories.give(task_id, story)
            self._wake()

    def _give(self, key: PayloadKey, data: Buffer | None) -> None:
        with self._changed:
            self._fetched.append((key, data))
        self._wake()


def _in_row(key: PayloadKey, data: Buffer) -> NewPayload:
    """Return a payload that is kept in the database itself."""
    return NewPayload(key, memoryview(data).nbytes, digest_of(data), data)
