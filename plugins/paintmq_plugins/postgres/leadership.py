"""Who leads among the brokers on one database: a lock, a lease and a fence.

Rule 1: the fence alone keeps the journal right. Whoever takes the lead raises the epoch, and every
commit begins with a check of its own, under a lock that the raise has to wait for: a leader that
was paused for however long commits nothing.
Rule 2: the lease keeps a former leader quiet. It says something only while its session holds the
lock and was answered within the lease, by a clock that goes on while the machine sleeps; others
wait for longer than that.
Rule 3: the lock tells of a death soon: a killed broker's session ends with it. Where the lock
stays, as the broker is stopped or cut off, the lease runs out, and its successor ends its sessions.
"""

import contextlib
import logging
import select
import socket
import threading

import psycopg

from paintmq.errors import LeadLostError, StoreError
from paintmq.storing import Leader
from paintmq_plugins.postgres.schema import prepare
from paintmq_plugins.postgres.sessions import (
    GONE,
    Connection,
    Place,
    Session,
    boot_time,
    is_gone,
)

logger = logging.getLogger("paintmq.postgres")

RENEWALS = 5
"""Within a lease."""
DEAD_AFTER = 1.5
"""Renewals that are missing, where nobody holds the lock, before another broker takes it: one whose
session broke has the time to open another."""
MARGIN = 0.5
"""Seconds that a successor waits beyond the lease: clocks do not go at quite the same rate."""
_RETRY = 0.1
_CONFIRM = 0.1
"""Seconds that ``confirm`` waits."""


class Leadership:
    """This broker's share in the lead. ``claim`` and ``confirm`` are the broker's thread's."""

    def __init__(self, place: Place, *, lease: float, patience: float) -> None:
        self._place = place
        self._lease = lease
        self._patience = patience
        # A renewal that a crash of the database loses only makes the lease end sooner.
        self._session = Session(place, durable=False)
        self._key = 0
        self._is_prepared = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._bell: tuple[socket.socket, socket.socket] | None = None
        """Wakes the keeper up for its end."""
        self.epoch = 0
        # Written by the keeper, read by the others.
        self._confirmed = threading.Event()
        """Its session holds the lock; that it was answered in time is for the clock to tell."""
        self._answered_at = 0.0
        self._failure: StoreError | None = None

    # ---- the broker's thread -------------------------------------------------------------------

    def claim(self, name: str, address: str) -> Leader | None:
        """Try once to take the lead; return who has it instead.

        Until it is ``release``d, it may hold a session.

        Raises:
            StoreUnreachableError: there is no answer, or no access yet.
            StoreError: the database cannot be used, and waiting would not help.
        """
        if self._thread is not None:
            return None
        try:
            return self._try(name, address)
        except StoreError:
            self._session.close()
            raise
        except psycopg.Error as error:
            self._session.close()
            raise self._place.refused(error) from error

    def confirm(self) -> bool:
        """Return whether this broker still leads for certain, after a short wait if need be.

        Raises:
            StoreError: it does not, or was uncertain for too long.
        """
        if self._is_certain:
            return True
        self._ended.wait(_CONFIRM)
        self.check()
        return self._is_certain

    def check(self) -> None:
        """Raise StoreError if another broker has the lead, or it was uncertain for too long."""
        if self._failure is not None:
            raise self._failure
        silent = boot_time() - self._answered_at
        if self._thread is not None and silent > max(self._patience, self._lease):
            raise LeadLostError(
                f"the journal in {self._place.shown} has not answered for {silent:.0f} s "
                f"([plugins.settings.postgres] patience = {self._patience:g}): this broker no "
                f"longer leads"
            )

    @property
    def _is_certain(self) -> bool:
        return self._confirmed.is_set() and boot_time() - self._answered_at < self._lease

    def lose(self, error: StoreError) -> None:
        """Record that another broker has the lead, or that the journal has failed. Any thread."""
        self._failure = self._failure or error
        self._confirmed.clear()
        self._ended.set()

    def release(self) -> None:
        """Give up the lead, if this broker has it, for another to take at once."""
        self._ended.set()
        if self._bell is not None:
            self._bell[1].close()
        if self._thread is not None:
            if not self._is_certain:
                self._session.cut()
            self._thread.join()
            self._thread = None
            if self._is_certain:
                with contextlib.suppress(psycopg.Error):
                    self._session.get().execute(
                        "UPDATE leader SET released = true WHERE epoch = %s", (self.epoch,)
                    )
        self._confirmed.clear()
        self._session.close()
        if self._bell is not None:
            self._bell[0].close()
            self._bell = None

    # ---- taking the lead -----------------------------------------------------------------------

    def _try(self, name: str, address: str) -> Leader | None:
        connection = self._prepared()
        leader, application, released = self._who(connection)
        if not released and leader.silent_for < DEAD_AFTER * self._lease / RENEWALS:
            return leader
        if not self._take_lock(connection):
            if leader.silent_for > self._lease + MARGIN:
                logger.warning("ending the sessions of a leader that is silent: %s", leader)
                self._end_sessions(connection, application)
            return leader
        self._end_sessions(connection, application)
        asked_at = boot_time()
        with connection.transaction():
            # An epoch must never be given out twice, whatever happens to the database.
            connection.execute("SET LOCAL synchronous_commit = on")
            row = connection.execute(
                "UPDATE leader SET epoch = epoch + 1, name = %s, address = %s, application = %s, "
                "since = clock_timestamp(), renewed = clock_timestamp(), released = false "
                "RETURNING epoch",
                (name, address, self._place.application),
            ).fetchone()
        assert row is not None
        self.epoch, self._answered_at = int(row[0]), asked_at
        self._confirmed.set()
        self._bell = socket.socketpair()
        logger.info("leads on %s: epoch %d", self._place.shown, self.epoch)
        self._thread = threading.Thread(target=self._keep, name="paintmq-lead", daemon=True)
        self._thread.start()
        return None

    def _prepared(self) -> Connection:
        connection = self._session.get()
        if not self._is_prepared:
            row = connection.execute(
                "SELECT hashtextextended(%s, 0)", (f"paintmq {self._place.schema}",)
            ).fetchone()
            assert row is not None
            self._key = int(row[0])
            prepare(connection, self._place.schema, self._key ^ 1)
            self._is_prepared = True
        return connection

    @staticmethod
    def _who(connection: Connection) -> tuple[Leader, str, bool]:
        row = connection.execute(
            "SELECT name, address, epoch, "
            "extract(epoch FROM clock_timestamp() - renewed)::float8, application, released "
            "FROM leader"
        ).fetchone()
        if row is None:
            raise StoreError("the table leader is empty: restore the database from a backup")
        leader = Leader(name=row[0], address=row[1], epoch=row[2], silent_for=max(0.0, row[3]))
        return leader, row[4], row[5]

    def _take_lock(self, connection: Connection) -> bool:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()
        return row is not None and bool(row[0])

    def _end_sessions(self, connection: Connection, application: str) -> None:
        """End what a former leader may have left: its statements could hold up our commits."""
        if application and application != self._place.application:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
                "WHERE application_name = %s AND pid <> pg_backend_pid()",
                (application,),
            )

    # ---- keeping it: a thread of its own -------------------------------------------------------

    def _keep(self) -> None:
        while not self._ended.is_set():
            try:
                self._renew(self._session.get())
                self._wait_for_end(self._session.get())
            except GONE as error:
                self._confirmed.clear()
                self._session.close()
                if not is_gone(error):
                    self.lose(self._place.refused(error))
                elif not self._ended.wait(_RETRY):
                    self._open_again()
            except psycopg.Error as error:
                self.lose(self._place.refused(error))

    def _renew(self, connection: Connection) -> None:
        asked_at = boot_time()
        changed = connection.execute(
            "UPDATE leader SET renewed = clock_timestamp() WHERE epoch = %s", (self.epoch,)
        )
        if changed.rowcount == 1:
            self._answered_at = asked_at
        else:
            self._lose_to(connection)

    def _wait_for_end(self, connection: Connection) -> None:
        """Wait until the next renewal is due; a session that ends is noticed at once."""
        if self._ended.is_set():
            return
        assert self._bell is not None
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(self._bell[0], select.POLLIN)
        poll.poll(1000 * self._lease / RENEWALS)
        poll.unregister(self._bell[0])
        if poll.poll(0) and not self._ended.is_set():
            self._confirmed.clear()
            connection.execute("SELECT 1")  # raises, unless it was but a notice
            self._confirmed.set()

    def _open_again(self) -> None:
        """Open a session in place of a broken one; certain again only with the lock."""
        with contextlib.suppress(*GONE):
            connection = self._session.get()
            leader, _, _ = self._who(connection)
            if leader.epoch != self.epoch:
                self._lose_to(connection)
            elif self._take_lock(connection):
                self._renew(connection)
                if self._failure is None:
                    self._confirmed.set()
                    logger.warning("has a session with %s again", self._place.shown)
                    return
            self._session.close()

    def _lose_to(self, connection: Connection) -> None:
        leader, _, _ = self._who(connection)
        self.lose(LeadLostError(f"this broker no longer leads: {leader}"))
