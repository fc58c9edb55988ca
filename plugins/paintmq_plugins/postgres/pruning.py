"""Keeps the log within bounds: as many records and as old as in SQLite."""

import psycopg
from attrs import define, field

from paintmq_plugins.postgres.sessions import Connection, Session

KEPT_SECONDS = 7 * 86_400.0
KEPT_RECORDS = 1_000_000
STEP = 5000
"""Records deleted at once."""
SOON = 0.01
"""Seconds until the next step: commits come first."""


@define
class LogPruning:
    """What of the log goes, and when to look again. The writer's thread's alone."""

    _unpruned: int = field(default=STEP, init=False)
    """Records since the last look."""
    _more: bool = field(default=False, init=False)
    """The last step was not the last that is due."""
    _latest: float = field(default=0.0, init=False)
    """Broker time of the last commit."""
    _start: tuple[int, float] | None = field(default=None, init=False)
    """First row of the log; None: not known."""

    @property
    def wait(self) -> float | None:
        """Seconds until the next step is due; None: not before there are more records."""
        return SOON if self._more else None

    def committed(self, records: int, *, at: float) -> None:
        self._unpruned += records
        self._latest = at

    def prune(self, session: Session, last: int) -> None:
        """Delete one step's worth of the oldest records, if that is due. What fails is put off.

        Not behind the fence: whoever does it, the same records go.
        """
        if self._unpruned < STEP and not self._more:
            return
        self._unpruned, self._more = 0, False
        try:
            self._more = self._step(session.get(), last)
        except psycopg.Error:
            self._start = None
            session.close()

    def _step(self, connection: Connection, last: int) -> bool:
        """Delete the oldest records; return whether there may be more to delete."""
        if self._start is None:
            self._start = _first(connection, 0)
        begins, at = self._start
        before, up_to = self._latest - KEPT_SECONDS, last - KEPT_RECORDS
        if begins >= last or (at >= before and begins > up_to):
            return False
        ends = min(begins + STEP, last)  # the last one stays: it holds the sequence
        connection.execute(
            "DELETE FROM log WHERE sequence < %s AND (at < %s OR sequence <= %s)",
            (ends, before, up_to),
        )
        self._start = _first(connection, begins)
        return self._start[0] >= ends


def _first(connection: Connection, after: int) -> tuple[int, float]:
    """Return the first row that is not before that one, where the index has no deleted rows."""
    row = connection.execute(
        "SELECT sequence, at FROM log WHERE sequence >= %s ORDER BY sequence LIMIT 1", (after,)
    ).fetchone()
    return (0, 0.0) if row is None else (row[0], row[1])
