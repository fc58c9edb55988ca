"""The books of a broker: counted between the turns of its loop, written down beside its journal.

Rule 1: what is written is what is durable. Counts are held back until every record in them is, so
that a broker that was killed finds its counts at some record of its journal, and counts on from
there by the journal's log.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import define, evolve, field
from cattrs.errors import ClassValidationError

from paintmq.broker.accounting.chronicle import Chronicle
from paintmq.broker.accounting.events import EventLog, Filter, Told
from paintmq.broker.accounting.happening import Happening
from paintmq.broker.accounting.ledger import Books, Ledger, read_books
from paintmq.broker.accounting.node_load import NODE, fresh_loads
from paintmq.broker.accounting.report import report
from paintmq.broker.accounting.sketch import Sketch
from paintmq.broker.machine import BrokerMachine, Credentials
from paintmq.broker.records import Recovered
from paintmq.broker.stores.history_table import Stretch, Wanted
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.statistics_file import StatisticsFile, read_books_at
from paintmq.statistics import BrokerStatistics, NodeStatistics
from paintmq.task import Json

MOST_UNCOUNTED = 512
"""Happenings after which they are counted, whatever time it is."""
LOOK_SECONDS = 1.0
"""Between two looks at the counts."""
TELL_SECONDS = 0.1
"""Between two times at which observers, if there are any, are told what was counted."""
WRITE_SECONDS = 10.0
"""Between two writings: a broker that was killed counts that much again, from its journal."""

logger = logging.getLogger(__name__)


class Observers(Protocol):
    """Whoever wants to know what was counted."""

    def happened(self, last: int, now: float, happenings: Sequence[Happening]) -> None: ...


@define
class Bookkeeping:
    """Keeps the ledger; a duty of the broker's loop. All methods are for the broker's thread."""

    _journal: Journal
    _path: Path | None
    """Of the file; None: nothing outlives a broker without a durable journal, history included."""
    history_seconds: float = 1.0
    """Between two points of the history."""
    ledger: Ledger = field(factory=Ledger, init=False)
    log: EventLog = field(factory=EventLog, init=False)
    _chronicle: Chronicle = field(factory=Chronicle, init=False)
    _machine: BrokerMachine | None = field(default=None, init=False)
    _observers: Observers | None = field(default=None, init=False)
    _earlier: Books | None = field(default=None, init=False)
    _file: StatisticsFile | None = field(default=None, init=False)
    _nodes: Callable[[float], Mapping[str, NodeStatistics]] | None = field(default=None, init=False)
    """Tells the load of each node at a time."""
    _look_at: float = field(default=0.0, init=False)
    _tell_at: float = field(default=0.0, init=False)
    _history_at: float = field(default=0.0, init=False)
    _looked_at_nodes: float | None = field(default=None, init=False)
    _write_at: float = field(default=0.0, init=False)
    _held: tuple[int, dict[str, Any]] | None = field(default=None, init=False)
    """Books that may be written once this record is durable."""
    _commits: Sketch = field(factory=Sketch, init=False)
    _watched: tuple[int, float] | None = field(default=None, init=False)
    """A record that is not durable yet, and when it was first seen."""

    def prepare(self) -> None:
        """Read what earlier brokers counted; call this before the journal is opened."""
        if self._path is not None:
            self._earlier = _read_earlier(self._path)
            if self._earlier is not None:
                self._journal.read_log_after(self._earlier.sequence)

    def start(self, recovered: Recovered, *, now: float) -> None:
        """Go on where the journal and the earlier books end; call this once it is open."""
        self.ledger.since = self.ledger.at = now
        if self._earlier is not None:
            self.ledger.take_over(self._earlier)
            requests = {task.request.id: task.request for task in recovered.tasks}
            self.ledger.replay(recovered.logged, requests)
        off = self.ledger.reconcile(recovered.tasks)
        if off and self._earlier is not None:
            logger.warning(
                "the statistics beside the journal did not fit it: %d tasks were counted again "
                "from what it holds, so totals may be too low",
                off,
            )
        self._file = StatisticsFile(self._path)
        self._file.open()
        if self._path is not None:
            # From here on a broker that is killed leaves books, and the records after them.
            self._file.write_books(self.ledger.books(recovered.durable_sequence))
            self._write_at = now + WRITE_SECONDS

    def watch(self, machine: BrokerMachine) -> None:
        """Write the history of this machine from now on."""
        self._machine = machine

    def watch_nodes(self, nodes: Callable[[float], Mapping[str, NodeStatistics]]) -> None:
        """Write the load of these nodes into the history, too; ``nodes`` tells it at a time."""
        self._nodes = nodes

    def __call__(self, *, now: float) -> None:
        """Do what is due."""
        self._watch_commits()
        if len(self.ledger.waiting) >= MOST_UNCOUNTED or now >= self._look_at:
            self._settle(now)
        elif self._observers is not None and now >= self._tell_at:
            self._count(now)

    def statistics(self, *, now: float) -> BrokerStatistics:
        """Return what stands now, and all that was counted."""
        machine = self._machine
        assert machine is not None
        self._settle(now)
        running = ((entry.request.model, entry.request.tenant) for entry in machine.leased())
        shown = report(machine.statistics(now=now), self.ledger, running)
        return evolve(shown, commits=self._commits.summary())

    def close(self, *, durable: bool) -> None:
        """Write the books a last time, unless the journal could not be closed properly."""
        if self._file is not None:
            self._count(self.ledger.at)
            if durable and self._path is not None:
                self._file.write_books(self.ledger.books(self._journal.sequence))
            self._file.close()

    def tell(self, observers: Observers) -> None:
        """Pass on what is counted from now on, with its numbers."""
        self._observers = observers

    def _count(self, now: float) -> None:
        happenings = self.ledger.settle()
        self.log.add(happenings, now=now)
        if self._observers is not None:
            self._tell_at = now + TELL_SECONDS
            self._observers.happened(self.log.last, now, happenings)

    def _settle(self, now: float) -> None:
        self._count(now)
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self.ledger.look(now)
            self._write_down(now)
            if now >= self._history_at:
                self._history_at = now + self.history_seconds
                self._write_history(now)

    def _write_history(self, now: float) -> None:
        if self._machine is not None and self._file is not None:
            counts = self._machine.statistics(now=now)
            points: dict[tuple[str, str], Stretch] = {
                **self._chronicle.take(self.ledger, counts, now=now),
                **self._loads(now),
            }
            if points:
                self._file.write_points(points, now)

    def _loads(self, now: float) -> Mapping[tuple[str, str], Stretch]:
        last, self._looked_at_nodes = self._looked_at_nodes, now
        if last is None or self._nodes is None:
            return {}
        return fresh_loads(self._nodes(now), now - last)

    def _write_down(self, now: float) -> None:
        if self._file is None or self._path is None:
            return
        if self._held is not None and self._held[0] <= self._journal.durable:
            self._file.write_books(self._held[1])
            self._held = None
        if self._held is None and now >= self._write_at:
            self._write_at = now + WRITE_SECONDS
            sequence = self._journal.sequence
            self._held = sequence, self.ledger.books(sequence)

    def history(self, arguments: Mapping[str, Json], reader: Credentials, *, now: float) -> Json:
        """Return a part of the history, or that it is being read: then ask again.

        Raises:
            ValueError: the arguments make no sense, or this reader may not be told.
        """
        assert self._file is not None
        wanted = _wanted(arguments, now)
        if wanted.kind == NODE and not reader.is_admin:
            raise ValueError("the history of nodes is for admins alone: ask with an admin's key")
        answer = self._file.read_history(wanted)
        if not isinstance(answer, dict):
            return {"state": "reading"}
        return {"state": "done", "history": {**answer, "length": self._length(answer)}}

    def _length(self, answer: Mapping[str, Json]) -> Json:
        """Return the seconds between points, which are further apart than a second if asked to."""
        length = answer["length"]
        return max(length, self.history_seconds) if isinstance(length, int) else length

    def events(self, arguments: Mapping[str, Json], reader: Credentials, *, now: float) -> Told:
        """Return the events after a number that this reader may be told.

        Raises:
            ValueError: the arguments make no sense.
        """
        self._settle(now)
        after = arguments.get("after", 0)
        if not isinstance(after, int):
            raise ValueError(f"after = {after!r} is no number of an event")  # noqa: TRY004 -- theirs
        names = {key: arguments.get(key, "") for key in ("queue", "model", "tenant", "task")}
        for key, value in names.items():
            if not isinstance(value, str):
                raise ValueError(f"{key} = {value!r} is no name")  # noqa: TRY004 -- as above
        wanted = Filter(**{key: str(value) for key, value in names.items()})
        return self.log.tell(after, wanted, reader.sees, is_admin=reader.is_admin)

    def _watch_commits(self) -> None:
        journal = self._journal
        if self._watched is not None and self._watched[0] <= journal.durable:
            self._commits.add(time.perf_counter() - self._watched[1])
            self._watched = None
        if self._watched is None and journal.sequence > journal.durable:
            self._watched = journal.sequence, time.perf_counter()


def _wanted(arguments: Mapping[str, Json], now: float) -> Wanted:
    match arguments:
        case {
            "kind": "total" | "queue" | "model" | "node" as kind,
            "name": str(name),
            "since": int(since) | float(since),
            "until": int(until) | float(until),
        } if since <= until <= now + 60:
            return Wanted(kind=kind, name=name, since=since, until=until)
        case _:
            raise ValueError(
                "history wants a kind (total, queue, model or node), a name, and since and until in"
                " broker time, Unix seconds"
            )


def _read_earlier(path: Path) -> Books | None:
    plain = read_books_at(path)
    try:
        books = read_books(plain)
    except (ClassValidationError, ValueError, TypeError, KeyError):
        books = None
    if plain is not None and books is None:
        logger.warning("the statistics in %s cannot be understood: counting begins anew", path)
    return books
