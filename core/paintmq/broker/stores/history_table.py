"""The history in the file of statistics: points of a second, a minute and an hour, within bounds.

Rule 1: minutes and hours are made of the rows below them when they have passed, so nothing is lost
by a restart in between.
Rule 2: the file has a bound in bytes; beyond it the oldest points of each length go first.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from attrs import frozen

from paintmq.broker.accounting.chronicle import (
    HOUR,
    KEPT,
    MINUTE,
    SECOND,
    Point,
    Series,
    merge,
    read_point,
)

MOST_BYTES = 64 << 20
MOST_POINTS = 4_000
"""Points of one answer: an hour of seconds fits."""
_PRUNE_EVERY = 60.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS history (
    length INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL,
    point TEXT NOT NULL, PRIMARY KEY (length, kind, name, at)
) WITHOUT ROWID
"""


@frozen(kw_only=True)
class Wanted:
    """Which points are asked for."""

    kind: Literal["total", "queue", "model"] = "total"
    name: str = ""
    since: float
    until: float
    """Broker time."""

    @property
    def length(self) -> int:
        """The finest points that are kept for as long, and few enough for one answer."""
        for length in (SECOND, MINUTE):
            stretch = self.until - self.since
            if stretch <= KEPT[length] + length and stretch / length <= MOST_POINTS:
                return length
        return HOUR


class HistoryTable:
    """Used by the thread of the file of statistics alone."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._rolled: dict[int, int] = {}
        """The start of the first stretch of each length that is not made up yet."""
        self._pruned_at = 0.0

    def write(
        self, connection: sqlite3.Connection, points: Mapping[Series, Point], now: float
    ) -> None:
        """Add the points of the second before ``now``, and make up what has passed."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            second = int(now)
            for series, point in points.items():
                _put(connection, SECOND, series, second, [*_get(connection, series, second), point])
            self._roll_up(connection, SECOND, MINUTE, now)
            self._roll_up(connection, MINUTE, HOUR, now)
            if now - self._pruned_at >= _PRUNE_EVERY:
                self._pruned_at = now
                self._prune(connection, now)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _roll_up(self, connection: sqlite3.Connection, of: int, into: int, now: float) -> None:
        """Make up the points of a length whose time has passed."""
        ends = int(now) // into * into
        begins = self._rolled.get(into)
        if begins is None:
            row = connection.execute(
                "SELECT max(at) FROM history WHERE length = ?", (into,)
            ).fetchone()
            begins = row[0] + into if row[0] is not None else 0
        if begins >= ends:
            self._rolled[into] = begins
            return
        rows = connection.execute(
            "SELECT kind, name, at, point FROM history WHERE length = ? AND at >= ? AND at < ?",
            (of, begins, ends),
        )
        together: dict[tuple[Series, int], list[Point]] = {}
        for kind, name, at, text in rows:
            key = (kind, name), at // into * into
            together.setdefault(key, []).append(read_point(json.loads(text)))
        for (series, at), points in together.items():
            _put(connection, into, series, at, points)
        self._rolled[into] = ends

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        for length, kept in KEPT.items():
            connection.execute(
                "DELETE FROM history WHERE length = ? AND at < ?", (length, int(now - kept))
            )
        while _bytes_used(connection) > self._most_bytes:
            gone = 0
            for length in KEPT:
                first, last = connection.execute(
                    "SELECT min(at), max(at) FROM history WHERE length = ?", (length,)
                ).fetchone()
                if first is not None:
                    until = first + max(length, (last - first) // 4)
                    gone += connection.execute(
                        "DELETE FROM history WHERE length = ? AND at < ?", (length, until)
                    ).rowcount
            if not gone:
                return

    def read(self, connection: sqlite3.Connection, wanted: Wanted) -> dict[str, Any]:
        """Return the points of one series, oldest first, as a reader wants them."""
        rows = connection.execute(
            "SELECT at, point FROM history WHERE length = ? AND kind = ? AND name = ? "
            "AND at >= ? AND at <= ? ORDER BY at DESC LIMIT ?",
            (
                wanted.length,
                wanted.kind,
                wanted.name,
                int(wanted.since),
                int(wanted.until),
                MOST_POINTS,
            ),
        ).fetchall()
        points = [read_point(json.loads(text)).shown(at) for at, text in reversed(rows)]
        return {"length": wanted.length, "points": points}


def _get(connection: sqlite3.Connection, series: Series, second: int) -> list[Point]:
    """Return what was written for this second already: a clock may say the same twice."""
    row = connection.execute(
        "SELECT point FROM history WHERE length = ? AND kind = ? AND name = ? AND at = ?",
        (SECOND, *series, second),
    ).fetchone()
    return [] if row is None else [read_point(json.loads(row[0]))]


def _put(
    connection: sqlite3.Connection, length: int, series: Series, at: int, points: Iterable[Point]
) -> None:
    text = json.dumps(merge(points).to_json(), separators=(",", ":"))
    connection.execute(
        "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?)", (length, *series, at, text)
    )


def _bytes_used(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
