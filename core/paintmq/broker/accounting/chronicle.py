"""What happened in each second, and in each minute and hour: points of a history. Pure.

A point holds what can be added up: counts, sums of gauges over time, and sketches of durations. So
a minute is the sum of its seconds, whatever restarts lie in between.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import define, field, frozen
from cattrs import structure, unstructure

from paintmq.broker.accounting.ledger import Ledger
from paintmq.broker.accounting.sketch import Sketch
from paintmq.statistics import BrokerStatistics

SECOND, MINUTE, HOUR = 1, 60, 3600
KEPT: Mapping[int, float] = {SECOND: 3600.0, MINUTE: 7 * 86_400.0, HOUR: 366 * 86_400.0}
"""Seconds for which points of each length are kept."""

Series: TypeAlias = tuple[str, str]
"""What a point is of: ``("total", "")``, ``("queue", NAME)`` or ``("model", NAME)``."""
TOTAL: Series = ("total", "")


@define(kw_only=True)
class Point:
    """One series in a stretch of time. Gauges are summed up over its seconds."""

    seconds: float = 0.0
    """How long it was looked at; less than the stretch where no broker ran for all of it."""
    waiting: float = 0.0
    running: float = 0.0
    workers: float = 0.0
    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    """Ended in any other way."""
    loads: int = 0
    wait: Sketch = field(factory=Sketch)
    run: Sketch = field(factory=Sketch)

    @property
    def is_empty(self) -> bool:
        counts = self.accepted, self.succeeded, self.failed, self.loads
        return not (self.waiting or self.running or any(counts))

    def add(self, other: "Point") -> None:
        """Add another stretch of the same series."""
        self.seconds += other.seconds
        self.waiting += other.waiting
        self.running += other.running
        self.workers += other.workers
        self.accepted += other.accepted
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.loads += other.loads
        self.wait.merge(other.wait)
        self.run.merge(other.run)

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = unstructure(self)
        return plain

    def shown(self, at: float) -> dict[str, Any]:
        """Return it for a reader: gauges as means, rates a second, quantiles in seconds."""
        length = self.seconds or 1.0
        return {
            "at": at,
            "seconds": self.seconds,
            "waiting": self.waiting / length,
            "running": self.running / length,
            "workers": self.workers / length,
            "accepted": self.accepted,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "throughput": self.succeeded / length,
            "loads": self.loads,
            "wait_p50": self.wait.quantile(0.5),
            "wait_p90": self.wait.quantile(0.9),
            "wait_p99": self.wait.quantile(0.99),
            "run_p50": self.run.quantile(0.5),
            "run_p90": self.run.quantile(0.9),
            "run_p99": self.run.quantile(0.99),
        }


def read_point(plain: Any) -> Point:
    return structure(plain, Point)


@frozen
class _Seen:
    """A cell of the ledger when it was last looked at."""

    accepted: int
    succeeded: int
    failed: int
    wait: Sketch
    run: Sketch


@define
class Chronicle:
    """Turns the ever-growing counts of a ledger into points."""

    _at: float | None = field(default=None, init=False)
    _cells: dict[tuple[str, str], _Seen] = field(factory=dict[tuple[str, str], _Seen], init=False)
    _loads: dict[str, int] = field(factory=dict[str, int], init=False)

    def take(self, ledger: Ledger, counts: BrokerStatistics, *, now: float) -> dict[Series, Point]:
        """Return the points since the last call; the first one only sets the mark.

        ``counts``: what the machine says of its queues now. Series without any task are left out.
        """
        last, self._at = self._at, now
        points = {TOTAL: Point()}
        for key, cell in ledger.cells.items():
            failed = cell.failed + cell.cancelled + cell.expired + cell.dead
            point = points.setdefault(("model", cell.model), Point())
            seen = self._cells.get(key)
            length = 0.0 if last is None else now - last
            point.waiting += cell.unfinished * length
            if seen is not None and (seen.accepted, seen.succeeded, seen.failed) == (
                cell.accepted,
                cell.succeeded,
                failed,
            ):
                continue
            grown = Point(
                accepted=cell.accepted - (seen.accepted if seen else 0),
                succeeded=cell.succeeded - (seen.succeeded if seen else 0),
                failed=failed - (seen.failed if seen else 0),
                wait=cell.wait.since(seen.wait if seen else Sketch()),
                run=cell.run.since(seen.run if seen else Sketch()),
            )
            for series in (TOTAL, ("queue", cell.queue), ("model", cell.model)):
                points.setdefault(series, Point()).add(grown)
            self._cells[key] = _Seen(
                cell.accepted, cell.succeeded, failed, cell.wait.copy(), cell.run.copy()
            )
        for name, tally in ledger.models.items():
            grown = Point(loads=tally.loads - self._loads.get(name, 0))
            self._loads[name] = tally.loads
            for series in (TOTAL, ("model", name)):
                points.setdefault(series, Point()).add(grown)
        if last is None or now <= last:
            return {}
        length = now - last
        for name, queue in counts.queues.items():
            for series in (TOTAL, ("queue", name)):
                point = points.setdefault(series, Point())
                point.waiting += queue.waiting * length
                point.running += queue.running * length
                point.workers += queue.workers * length
        for point in points.values():
            point.seconds = length
        return {
            series: point
            for series, point in points.items()
            if series == TOTAL or not point.is_empty
        }
