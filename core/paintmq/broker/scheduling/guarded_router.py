"""A router behind a guard: it is a plugin's code, and no fault of it may cost a task its turn.

Rule 1: whatever the router raises, ``sys.exit()`` included, and every answer that is not allowed is
counted as a fault and replaced: by the task that came first, on the worker that has been idle
longest. So the worst router makes the broker a plain queue.
One that does not return is interrupted from outside, and is not asked again: see ``turn_watch.py``.
Rule 2: an answer is only used to find one of the engine's own objects; nothing of the router's is
kept.
"""

from collections.abc import Iterator, Mapping, Sequence

from attrs import define, field

from paintmq.broker.scheduling.backlog import Backlog
from paintmq.broker.scheduling.scheduling_board import SchedulingBoard
from paintmq.broker.scheduling.worker import Worker
from paintmq.errors import PluginStuck, printable, shown
from paintmq.model import ModelSpec
from paintmq.plugin.answers import MOST_SECONDS, number
from paintmq.plugin.guarded_call import describe
from paintmq.routing import BacklogView, BoardView, QueueView, Router, WorkerView

MOST_TERMS = 100
"""Terms of a score that an explanation shows."""


@define
class FirstCome(Router):
    """Takes the place of a router that did not return: the broker is a plain queue then."""

    instead_of: str
    _why: str

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float:
        return 0.0

    def explain(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> Mapping[str, float | str]:
        return {"router": f"{self.instead_of} is not asked any more: {self._why}"}


@define(eq=False)
class GuardedRouter:
    """Asks a router for decisions and checks its answers."""

    router: Router
    _view: SchedulingBoard
    faults: int = field(default=0, init=False)
    last_fault: str = field(default="", init=False)

    @property
    def name(self) -> str:
        if isinstance(self.router, FirstCome):
            return self.router.instead_of
        return printable(type(self.router).__name__)

    def level_seconds(self) -> float:
        """Return what a level of priority is worth to the router."""
        try:
            return number(self.router.level_seconds, "level_seconds", most=MOST_SECONDS)
        except BaseException as error:  # noqa: BLE001 -- rule 1
            self._count(error)
            return 0.0

    def recheck_after(self) -> float | None:
        """Return the seconds after which the router may be asked again for what it declined."""
        try:
            seconds = self.router.recheck_after
            if seconds is None:
                return None
            return number(seconds, "recheck_after", most=MOST_SECONDS)
        except BaseException as error:  # noqa: BLE001 -- rule 1
            self._count(error)
            return None

    def choose_queue(self, queues: Sequence[QueueView], *, now: float) -> str:
        """Return which of these queues, all able to hold the task, gets it."""
        try:
            chosen = self.router.choose_queue(queues, now=now)
            for queue in queues:
                if queue.name == chosen:
                    return queue.name
            raise LookupError(f"{shown(chosen)} is none of the queues")  # noqa: TRY301 -- as one
        except BaseException as error:  # noqa: BLE001 -- rule 1
            self._count(error)
            return queues[0].name

    def choose_backlog(self, worker: Worker, *, now: float) -> Backlog | None:
        """Return what the worker starts next; None: the router leaves it idle."""
        try:
            chosen = self.router.choose_backlog(
                worker, self._view.backlogs_for(worker), self._view, now=now
            )
            if chosen is None:
                return None
            if isinstance(chosen, Backlog) and chosen.ready and self._view.fits(chosen, worker):
                return chosen
            what = chosen.model if isinstance(chosen, Backlog) else shown(chosen)
            raise LookupError(f"it may not take {what}")  # noqa: TRY301 -- as one
        except BaseException as error:  # noqa: BLE001 -- rule 1
            self._count(error)
            possible = self._view.backlogs_for(worker)
            return min(possible, key=lambda item: item.first()[0].key, default=None)

    def choose_worker(
        self, backlog: Backlog, first: Worker, others: Iterator[Worker], *, now: float
    ) -> Worker | None:
        """Return which free worker starts the backlog's first task; None: it waits.

        ``first`` is the one idle longest; ``others`` follow it.
        """
        try:
            chosen = self.router.choose_worker(backlog, _chain(first, others), self._view, now=now)
            if chosen is None:
                return None
            worker = self._view.board.get(chosen.session)
            if worker is None or not worker.idle:
                raise LookupError(f"{chosen.name} is not free")  # noqa: TRY301 -- as one
            if self._view.fits(backlog, worker):
                return worker
            raise LookupError(f"{worker.name} may not take it")  # noqa: TRY301 -- as one
        except BaseException as error:  # noqa: BLE001 -- rule 1
            self._count(error)
            return first

    def choose_preload(self, *, now: float) -> tuple[Worker, ModelSpec] | None:
        """Return a worker and a model that it should load ahead of its tasks."""
        try:
            choice = self.router.choose_preload(self._view, now=now)
            if choice is None:
                return None
            view, model = choice
            worker, spec = self._view.board.get(view.session), self._view.spec(model)
        except BaseException as error:  # noqa: BLE001 -- rule 1
            self._count(error)
            return None
        return None if worker is None or spec is None else (worker, spec)

    def would_take(self, backlog: Backlog, worker: Worker, *, now: float) -> bool:
        """Return whether the router has a score for the pair."""
        try:
            return self.router.score(backlog, worker, self._view, now=now) is not None
        except BaseException as error:  # noqa: BLE001 -- rule 1
            self._count(error)
            return True

    def explain(
        self, backlog: Backlog, worker: Worker, *, now: float
    ) -> Mapping[str, float | str] | None:
        """Return the terms of the pair's score; None: the router fails to explain itself."""
        try:
            terms = list(self.router.explain(backlog, worker, self._view, now=now).items())
            return {printable(str(term)): _term(value) for term, value in terms[:MOST_TERMS]}
        except BaseException as error:  # noqa: BLE001 -- rule 1
            self._count(error)
            return None

    def _count(self, error: BaseException) -> None:
        self.faults += 1
        self.last_fault = describe(error)
        if isinstance(error, PluginStuck):
            self.last_fault = f"{error}: first come, first served from now on"
            self.router = FirstCome(self.name, self.last_fault)


def _term(value: object) -> float | str:
    if isinstance(value, int | float):
        return float.__float__(float(value))
    return printable(str(value))


def _chain(first: Worker, rest: Iterator[Worker]) -> Iterator[Worker]:
    yield first
    yield from rest
