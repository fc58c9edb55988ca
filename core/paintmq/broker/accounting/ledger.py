"""Counts what happens in a broker, for as long as its journal lives. Pure.

Rule 1: it costs the broker's loop next to nothing: what happened waits in a list that the machine
appends to, and ``settle`` counts many at once.
Rule 2: its memory is bounded: beyond so many names of models, tenants and workers, which strangers
choose, the rest is counted together as ``other``.
Rule 3: accepted tasks are counted when they are accepted, endings when they end; neither is derived
from the other, so that ``BrokerStatistics.unaccounted`` says whether a task was lost.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from attrs import define, field
from cattrs import structure, unstructure

from paintmq.broker.accounting.happening import Happening, Note, Transition
from paintmq.broker.accounting.tally import Cell, ModelTally, Rejections, TenantTally, WorkerTally
from paintmq.broker.records import Record, StoredTask, TaskAccepted, TaskChanged
from paintmq.task import TaskId, TaskRequest, TaskState

MOST_CELLS = 1_000
"""Pairs of queue and model."""
MOST_MODELS = 500
MOST_TENANTS = 200
MOST_WORKERS = 500
OTHER = "other"
"""The name of all those beyond."""
FORMAT = 1

_ENDINGS: Mapping[str, TaskState] = {
    "succeed": TaskState.SUCCEEDED,
    "fail": TaskState.FAILED,
    "cancel": TaskState.CANCELLED,
    "expire": TaskState.EXPIRED,
    "give up": TaskState.DEAD,
}
_EVENTS = {state: event for event, state in _ENDINGS.items()}

_Named = TypeVar("_Named")


@define
class Books:
    """All that is kept over a restart. Plain values that fit into JSON."""

    since: float = 0.0
    """When counting began, broker time."""
    at: float = 0.0
    """When it was last counted up, broker time."""
    sequence: int = 0
    """The record of the journal up to which everything is in here."""
    cells: list[Cell] = field(factory=list[Cell])
    models: list[ModelTally] = field(factory=list[ModelTally])
    tenants: list[TenantTally] = field(factory=list[TenantTally])
    workers: list[WorkerTally] = field(factory=list[WorkerTally])
    rejections: list[Rejections] = field(factory=list[Rejections])
    format: int = FORMAT


@define
class Ledger:
    """The counts, by queue and model, tenant and worker."""

    since: float = 0.0
    waiting: list[Happening] = field(factory=list[Happening], init=False)
    """What has happened and is not counted yet; the machine appends to it."""
    cells: dict[tuple[str, str], Cell] = field(factory=dict[tuple[str, str], Cell], init=False)
    models: dict[str, ModelTally] = field(factory=dict[str, ModelTally], init=False)
    tenants: dict[str, TenantTally] = field(factory=dict[str, TenantTally], init=False)
    workers: dict[str, WorkerTally] = field(factory=dict[str, WorkerTally], init=False)
    rejections: dict[str, Rejections] = field(factory=dict[str, Rejections], init=False)
    at: float = field(default=0.0, init=False)

    # ---- counting ------------------------------------------------------------------------------

    def settle(self) -> list[Happening]:
        """Count all that waits, and return it."""
        happenings, self.waiting[:] = self.waiting[:], []
        for happening in happenings:
            if isinstance(happening, tuple):
                self._count(happening)
            else:
                self._note(happening)
        return happenings

    def look(self, now: float) -> None:
        """Bring the averages of throughput up to date."""
        seconds = now - self.at
        if seconds > 0:
            for cell in self.cells.values():
                cell.throughput.look(cell.succeeded, seconds, now - self.since)
            self.at = now

    def _count(self, transition: Transition) -> None:
        event, request, status, before = transition
        if event in _ENDINGS:
            self._ended(request, transition)
        elif event == "accept":
            self.cell(status.queue, request.model).accepted += 1
            self.tenant(request.tenant).accepted += 1
        elif event == "move":
            self.cell(status.queue, request.model).accepted += 1
        elif event == "load":
            self.cell(status.queue, request.model).cold_starts += 1
        elif event == "run":
            if before is TaskState.LEASED:
                self.cell(status.queue, request.model).warm_starts += 1
        elif event == "retry":
            cell = self.cell(status.queue, request.model)
            cell.retries += 1
            self._attempt_failed(cell, transition)
        elif event == "revive":
            self.cell(status.queue, request.model).dead -= 1
            self.tenant(request.tenant).failed -= 1

    def _ended(self, request: TaskRequest, transition: Transition) -> None:
        _, _, status, before = transition
        cell, tenant = self.cell(status.queue, request.model), self.tenant(request.tenant)
        state = status.state
        if state is not TaskState.SUCCEEDED:
            setattr(cell, state.value, getattr(cell, state.value) + 1)
            tenant.failed += 1
            if before.is_leased:
                self._attempt_failed(cell, transition)
            return
        cell.succeeded += 1
        tenant.succeeded += 1
        if before is TaskState.LEASED:
            cell.warm_starts += 1
        accepted, ended = status.accepted_at, status.ended_at or status.accepted_at
        started = status.started_at or ended
        cell.wait.add(started - accepted)
        cell.run.add(ended - started)
        cell.total.add(ended - accepted)
        tenant.run_seconds += ended - started
        worker = self.worker(status.worker)
        worker.succeeded += 1
        worker.run_seconds += ended - started

    def _attempt_failed(self, cell: Cell, transition: Transition) -> None:
        status = transition[2]
        worker = self.worker(status.worker)
        worker.failed += 1
        outcome = status.history[-1].outcome if status.history else ""
        if outcome == "crashed":
            cell.crashes += 1
            worker.crashes += 1
        elif outcome == "lost":
            cell.leases_lost += 1
            worker.leases_lost += 1

    def _note(self, note: Note) -> None:
        match note.what:
            case "rejected":
                codes = self.rejected(note.queue).codes
                codes[note.detail] = codes.get(note.detail, 0) + 1
            case "loaded":
                tally = self.model(note.model)
                tally.loads += 1
                tally.load.add(note.seconds)
                self.worker(note.worker).loads += 1
            case "load failed":
                self.model(note.model).load_failures += 1
            case "moved":
                self.cell(note.queue, note.model).accepted -= 1
            case "unloaded":
                self.model(note.model).evictions += 1
            case _:
                pass  # of interest as an event alone

    # ---- by name -------------------------------------------------------------------------------

    def cell(self, queue: str, model: str) -> Cell:
        found = self.cells.get((queue, model))
        if found is None:
            if len(self.cells) >= MOST_CELLS:
                model = OTHER
            found = self.cells.setdefault((queue, model), Cell(queue, model))
        return found

    def tenant(self, name: str) -> TenantTally:
        found = self.tenants.get(name)
        return found if found is not None else _new(self.tenants, name, TenantTally, MOST_TENANTS)

    def worker(self, name: str) -> WorkerTally:
        found = self.workers.get(name)
        return found if found is not None else _new(self.workers, name, WorkerTally, MOST_WORKERS)

    def model(self, name: str) -> ModelTally:
        found = self.models.get(name)
        return found if found is not None else _new(self.models, name, ModelTally, MOST_MODELS)

    def rejected(self, queue: str) -> Rejections:
        found = self.rejections.get(queue)
        return found if found is not None else _new(self.rejections, queue, Rejections, MOST_CELLS)

    # ---- over a restart ------------------------------------------------------------------------

    def books(self, sequence: int) -> dict[str, Any]:
        """Return all counts as JSON; ``sequence``: the journal's last record when they settled."""
        books = Books(
            since=self.since,
            at=self.at,
            sequence=sequence,
            cells=list(self.cells.values()),
            models=list(self.models.values()),
            tenants=list(self.tenants.values()),
            workers=list(self.workers.values()),
            rejections=list(self.rejections.values()),
        )
        plain: dict[str, Any] = unstructure(books)
        return plain

    def take_over(self, books: Books) -> None:
        """Go on with what an earlier broker counted; before anything else is counted."""
        self.since, self.at = books.since, books.at
        self.cells = {(cell.queue, cell.model): cell for cell in books.cells}
        self.models = {each.name: each for each in books.models}
        self.tenants = {each.name: each for each in books.tenants}
        self.workers = {each.name: each for each in books.workers}
        self.rejections = {each.queue: each for each in books.rejections}

    def replay(self, records: Iterable[Record], known: Mapping[TaskId, TaskRequest]) -> None:
        """Count what the journal holds beyond the books. ``known``: the tasks it still has.

        A task that was forgotten since, and accepted before, has lost its model and tenant.
        """
        requests, states = dict(known), dict[TaskId, TaskState]()
        for record in records:
            if isinstance(record, TaskAccepted):
                requests[record.request.id] = record.request
                self.waiting.append(("accept", record.request, record.status, TaskState.SUBMITTED))
            elif isinstance(record, TaskChanged):
                status, task_id = record.status, record.task_id
                request = requests.get(task_id) or TaskRequest(
                    id=task_id, task_type="", model=OTHER, tenant=OTHER
                )
                before = states.get(task_id, TaskState.RUNNING)
                self.waiting.append((_event(record), request, status, before))
                states[task_id] = status.state
        self.settle()

    def reconcile(self, tasks: Iterable[StoredTask]) -> int:
        """Make the counts agree with the tasks the journal holds; return by how many they differed.

        They differ where the books of an earlier broker are lost, or older than the log.
        """
        unfinished = dict[tuple[str, str], int]()
        ended = dict[tuple[tuple[str, str], TaskState], int]()
        of_tenant = dict[str, int]()
        for task in tasks:
            cell = self.cell(task.status.queue, task.request.model)
            key, state = (cell.queue, cell.model), task.status.state
            if state.is_final:
                ended[key, state] = ended.get((key, state), 0) + 1
            else:
                unfinished[key] = unfinished.get(key, 0) + 1
                tenant = self.tenant(task.request.tenant).name
                of_tenant[tenant] = of_tenant.get(tenant, 0) + 1
        off = 0
        for (key, state), count in ended.items():
            lacking = max(0, count - getattr(self.cells[key], state.value))
            setattr(self.cells[key], state.value, getattr(self.cells[key], state.value) + lacking)
            off += lacking
        for key, cell in self.cells.items():
            lacking = unfinished.get(key, 0) - cell.unfinished
            cell.accepted += lacking
            cell.throughput.seen = cell.succeeded
            off += abs(lacking)
        for name, tally in self.tenants.items():
            tally.accepted = of_tenant.get(name, 0) + tally.succeeded + tally.failed
        return off


def read_books(plain: Any) -> Books | None:
    """Return books as ``Ledger.books`` gave them; None: another version of PaintMQ wrote them."""
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        return None
    return structure(plain, Books)


def _event(record: TaskChanged) -> str:
    """Return the event of a record of the journal."""
    state = record.status.state
    match record.event:
        case "finish":
            return _EVENTS[state]
        case "start":
            return "load" if state is TaskState.LOADING else "run"
        case "requeue":
            return "retry"
        case other:
            return other


def _new(
    table: dict[str, _Named], name: str, make: Callable[[str], _Named], at_most: int
) -> _Named:
    """Return a new entry of that name, or the one that all further names share."""
    if len(table) >= at_most:
        name = OTHER
    return table.setdefault(name, make(name))
