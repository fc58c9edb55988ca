"""The history in the file of statistics: points of a second, a minute and an hour, within bounds.

Rule 1: minutes and hours are made of the rows below them when they have passed, so nothing is lost
by a restart in between.
Rule 2: the file has a bound in bytes; beyond it the oldest points of each length go first, of
tasks or of nodes, whichever take more: many nodes push no queue out.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from attrs import frozen

from paintmq.broker.accounting.chronicle import (
    HOUR,
    KEPT,
    MINUTE,
    SECOND,
    Series,
    read_point,
)
from paintmq.broker.accounting.node_load import NODE, read_load

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


class Stretch(Protocol):
    """A point: of tasks (``chronicle.Point``) or of a node (``node_load.Load``)."""

    def add(self, other: Any) -> None:
        """Add another of the same series."""

    def to_json(self) -> dict[str, Any]: ...

    def shown(self, at: float) -> dict[str, Any]: ...


@frozen(kw_only=True)
class Wanted:
    """Which points are asked for."""

    kind: Literal["total", "queue", "model", "node"] = "total"
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
        self, connection: sqlite3.Connection, points: Mapping[Series, Stretch], now: float
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
        together: dict[tuple[Series, int], list[Stretch]] = {}
        for kind, name, at, text in rows:
            key = (kind, name), at // into * into
            together.setdefault(key, []).append(_read(kind, text))
        for (series, at), points in together.items():
            _put(connection, into, series, at, points)
        self._rolled[into] = ends

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        for length, kept in KEPT.items():
            connection.execute(
                "DELETE FROM history WHERE length = ? AND at < ?", (length, int(now - kept))
            )
        while _bytes_used(connection) > self._most_bytes:
            gone, of_nodes = 0, _nodes_take_more(connection)
            for length in KEPT:
                first, last = connection.execute(
                    "SELECT min(at), max(at) FROM history WHERE length = ? AND (kind = ?) = ?",
                    (length, NODE, of_nodes),
                ).fetchone()
                if first is not None:
                    until = first + max(length, (last - first) // 4)
                    gone += connection.execute(
                        "DELETE FROM history WHERE length = ? AND at < ? AND (kind = ?) = ?",
                        (length, until, NODE, of_nodes),
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
        points = [_read(wanted.kind, text).shown(at) for at, text in reversed(rows)]
        return {"length": wanted.length, "points": points}


def _get(connection: sqlite3.Connection, series: Series, second: int) -> list[Stretch]:
    """Return what was written for this second already: a clock may say the same twice."""
    row = connection.execute(
        "SELECT point FROM history WHERE length = ? AND kind = ? AND name = ? AND at = ?",
        (SECOND, *series, second),
    ).fetchone()
    return [] if row is None else [_read(series[0], row[0])]


def _put(
    connection: sqlite3.Connection, length: int, series: Series, at: int, points: Iterable[Stretch]
) -> None:
    together, *others = points
    for other in others:
        together.add(other)
    text = json.dumps(together.to_json(), separators=(",", ":"))
    connection.execute(
        "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?)", (length, *series, at, text)
    )


def _read(kind: str, text: str) -> Stretch:
    plain = json.loads(text)
    return read_load(plain) if kind == NODE else read_point(plain)


def _nodes_take_more(connection: sqlite3.Connection) -> bool:
    of_nodes, of_all = connection.execute(
        "SELECT total(length(point) * (kind = ?)), total(length(point)) FROM history", (NODE,)
    ).fetchone()
    return bool(of_nodes > of_all - of_nodes)


def _bytes_used(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size
