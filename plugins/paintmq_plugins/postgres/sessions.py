"""Sessions with the database: opened within bounds, named after their broker, cut from outside."""

import contextlib
import os
import socket
import threading
import time
from typing import Any, TypeAlias

import psycopg
from attrs import define, field, frozen
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from paintmq.errors import StoreError, StoreUnreachableError

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

GONE = (psycopg.OperationalError, psycopg.InterfaceError)
"""What psycopg raises when a session has ended; see ``is_gone``."""

_PERMANENT = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
)


def is_gone(error: BaseException) -> bool:
    """Return whether it says that there is no session any more, and another one may be opened."""
    if isinstance(error, psycopg.InterfaceError | errors.AdminShutdown | errors.CrashShutdown):
        return True
    # What the server itself refused, such as a statement on a full disk, has a state.
    state = getattr(error, "sqlstate", None)
    return isinstance(error, psycopg.OperationalError) and (
        state is None or state.startswith(("08", "57P"))
    )


def may_pass(error: BaseException) -> bool:
    """Return whether waiting may help: nothing has to be changed by an operator."""
    text = str(error)
    wrong = isinstance(error, _PERMANENT) or "authentication failed" in text
    return is_gone(error) and not wrong and "does not exist" not in text


def boot_time() -> float:
    """Return seconds that also count while the machine sleeps, where the system has such."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


@frozen
class Place:
    """Where the tables are, and how long to wait for the answer of the database."""

    address: str
    schema: str
    timeout: float
    application: str
    """By which this broker's sessions are known, and can be ended by whoever takes its place."""

    @classmethod
    def of(cls, address: str, schema: str, timeout: float) -> "Place":
        return cls(address, schema, timeout, f"paintmq {os.urandom(12).hex()}")

    @property
    def shown(self) -> str:
        """The address without its password."""
        try:
            known = conninfo_to_dict(self.address)
        except psycopg.ProgrammingError:
            return "the address of the database"
        host = known.get("host") or known.get("hostaddr") or "localhost"
        port = f":{known['port']}" if "port" in known else ""
        return f"postgresql://{host}{port}/{known.get('dbname', '')} (schema {self.schema})"

    def connect(self, *, durable: bool = True) -> Connection:
        """Open a session; each statement is a transaction, unless ``BEGIN`` says otherwise.

        Raises:
            psycopg.Error: it cannot be opened.
        """
        milliseconds = int(self.timeout * 1000)
        bounds = {
            "connect_timeout": str(max(2, int(self.timeout))),
            "tcp_user_timeout": str(milliseconds),
            "keepalives_idle": "2",
            "keepalives_interval": "1",
            "keepalives_count": "3",
        }
        given = conninfo_to_dict(self.address)
        wanted = make_conninfo("", **{**bounds, **given, "application_name": self.application})
        connection = psycopg.connect(wanted, autocommit=True)
        try:
            connection.execute(
                "SELECT set_config('search_path', %s, false), "
                "set_config('synchronous_commit', %s, false), "
                "set_config('lock_timeout', %s, false), "
                "set_config('idle_in_transaction_session_timeout', %s, false)",
                (self.schema, "on" if durable else "off", str(milliseconds), str(milliseconds)),
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def refused(self, error: BaseException) -> StoreError:
        """Return what to tell an operator; a StoreUnreachableError if waiting may help."""
        text = str(error).strip() or type(error).__name__
        kind = StoreUnreachableError if may_pass(error) else StoreError
        return kind(f"the journal in {self.shown} cannot be used: {text}")


@define
class Session:
    """One session at a time, for one thread; another thread may cut it."""

    _place: Place
    _durable: bool = True
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _connection: Connection | None = field(default=None, init=False)
    _cut: bool = field(default=False, init=False)

    def get(self) -> Connection:
        """Return the open session, or open one.

        Raises:
            psycopg.Error: it cannot be opened.
        """
        found = self._connection
        if found is not None and not found.closed:
            return found
        opened = self._place.connect(durable=self._durable)
        with self._lock:
            if not self._cut:
                self._connection = opened
                return opened
        opened.close()
        raise psycopg.OperationalError("the store is being closed")

    def close(self) -> None:
        """Close the session; the next ``get`` opens another."""
        with self._lock:
            found, self._connection = self._connection, None
        if found is not None:
            with contextlib.suppress(psycopg.Error):
                found.close()

    def cut(self) -> None:
        """End whatever the session waits for, at once and for good. Safe in any thread."""
        with self._lock:
            self._cut = True
            if self._connection is None:
                return
            # A copy of the descriptor: the session's own thread may close it meanwhile.
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(self._connection.fileno())) as line,
            ):
                line.shutdown(socket.SHUT_RDWR)
