"""The thread that reads, so that large payloads and long stories hold up no commit."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import psycopg

from paintmq.digests import matches
from paintmq.errors import StoreError
from paintmq.storing import (
    BOOTED,
    BlobFolder,
    Buffer,
    PayloadKey,
    StoryLine,
    payload_check,
    read_row,
    tell,
)
from paintmq.task import TaskId
from paintmq_plugins.postgres.leadership import Leadership
from paintmq_plugins.postgres.sessions import Connection, Place, Session, is_gone

logger = logging.getLogger("paintmq.postgres")

MOST_STORIES = 16
"""Stories read or kept; whoever asks for more waits longer."""
RETRY_SECONDS = 0.2


class Reader:
    """Answers the broker's questions; its methods are the broker thread's to call."""

    def __init__(
        self,
        place: Place,
        leadership: Leadership,
        blobs: BlobFolder | None,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._place = place
        self._leadership = leadership
        self._blobs = blobs
        self._wake = wake
        self._session = Session(place)
        self._thread = threading.Thread(target=self._run, name="paintmq-read", daemon=True)
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._wanted: deque[PayloadKey] = deque()
        self._read: list[tuple[PayloadKey, Buffer | None]] = []
        self._stories: deque[TaskId] = deque()
        self._told: dict[TaskId, Sequence[StoryLine]] = {}

    # ---- the broker's thread -------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def fetch(self, key: PayloadKey) -> None:
        with self._changed:
            self._wanted.append(key)
            self._changed.notify()

    def take(self) -> tuple[tuple[PayloadKey, Buffer | None], ...]:
        """Return the payloads that were read since the last call."""
        with self._changed:
            taken, self._read = tuple(self._read), []
            return taken

    def story(self, task_id: TaskId) -> Sequence[StoryLine] | None:
        with self._changed:
            if (story := self._told.pop(task_id, None)) is not None:
                return story
            if task_id not in self._stories and len(self._stories) < MOST_STORIES:
                self._stories.append(task_id)
                self._changed.notify()
            return None

    def close(self) -> None:
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._session.cut()
        if self._thread.ident is not None:
            self._thread.join()
        self._session.close()

    # ---- the reader's thread -------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._until_it_works(self._sweep)
            while not self._closing.is_set():
                with self._changed:
                    if not self._wanted and not self._stories:
                        self._changed.wait()
                    key = self._wanted[0] if self._wanted else None
                    task_id = self._stories[0] if self._stories else None
                if key is not None:
                    self._until_it_works(partial(self._give, key))
                elif task_id is not None:
                    self._until_it_works(partial(self._tell, task_id))
        except (psycopg.Error, OSError) as error:
            self._leadership.lose(self._place.refused(error))
            self._wake()
        except StoreError:
            pass  # another thread has said so

    def _until_it_works(self, work: Callable[[Connection], None]) -> None:
        """Do something, in another session if one ends meanwhile.

        A payload is never called missing because the database was away.
        """
        while not self._closing.is_set():
            self._leadership.check()
            try:
                work(self._session.get())
            except psycopg.Error as error:
                if not is_gone(error):
                    raise
                self._session.close()
                self._closing.wait(RETRY_SECONDS)
            else:
                return

    def _give(self, key: PayloadKey, connection: Connection) -> None:
        data = self._payload(connection, key)
        with self._changed:
            self._wanted.popleft()
            self._read.append((key, data))
        self._wake()

    def _payload(self, connection: Connection, key: PayloadKey) -> Buffer | None:
        row = connection.execute(
            "SELECT size, digest, data, row_check FROM payload "
            "WHERE task = %s AND direction = %s AND name = %s",
            tuple(key),
            binary=True,
        ).fetchone()
        if row is None:
            return None
        size, digest, data, row_check = row
        if row_check != payload_check(key, size, digest, inline=data is not None):
            return None
        if data is not None:
            return data if matches(digest, data) else None
        return None if self._blobs is None else self._blobs.read(digest, size)

    def _tell(self, task_id: TaskId, connection: Connection) -> None:
        rows = connection.execute(
            "SELECT sequence, at, record, row_check FROM log, "
            "(SELECT accepted, sequence AS changed FROM task WHERE id = %s) AS task "
            "WHERE log.sequence BETWEEN accepted AND changed AND "
            "(position(%b::bytea IN record) > 0 OR position(%b::bytea IN record) = 1) "
            "ORDER BY sequence",
            (task_id, task_id.encode(), BOOTED),
        ).fetchall()
        story = tell(task_id, [found for row in rows if (found := read_row(*row)) is not None])
        with self._changed:
            self._stories.popleft()
            self._told[task_id] = story
            if len(self._told) > MOST_STORIES:
                del self._told[next(iter(self._told))]
        self._wake()

    def _sweep(self, connection: Connection) -> None:
        """Remove files that a killed broker left behind: no row names them."""
        if self._blobs is None:
            return

        def is_named(name: str) -> bool:
            found = connection.execute(
                "SELECT 1 FROM payload WHERE digest = %s AND data IS NULL", (name,)
            )
            return found.fetchone() is not None

        if removed := self._blobs.sweep(is_named=is_named):
            logger.info("removed %d payload files that belonged to no task", removed)
