"""model-affinity: keep models where they are, and load one only when that beats waiting.

A pair's score is ``w / (T + c / n)``: what a task weighs (its age, its priority), over what serving
it takes: its run (T) and its share of the load (c), which the ``n`` tasks that the copy would come
to serve bear together. The load counts with what it evicts: the regret of having to load that
again. A further copy is made only where waiting for the copies there are would take longer (ski
rental), so bursts spread and trickles do not.

Ages are measured against what tasks have lately waited, so the same parameters hold whether tasks
take milliseconds or minutes.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from itertools import islice
from math import exp
from typing import TYPE_CHECKING, Literal, Protocol

from attrs import field, frozen, validators

from paintmq.routing import BacklogView, BoardView, Router, TaskView, WorkerView

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterRouter

KAPPAS = {"p99": 0.0, "balanced": 0.7, "throughput": 1.0}
"""How much a task's own run time counts, rather than that of all tasks: 1 favours short ones."""

FRONT = 4
"""Tasks at the front of a backlog whose weights are averaged."""
MOST_SERVED = 64
"""Tasks that a load is shared among at most: the future is not certain."""
WAIT_WEIGHT = 0.02
"""Of one task in the moving average of waits: the last fifty or so count."""
SHORTLIST = 6
"""Cold pairs that are scored in full for one decision; they are tried in order of promise."""
MOST_COPIES = 16
"""Copies that are asked when they will be free."""
RECHECK_SECONDS = 0.25
"""After that a refused pair is looked at again: a run may take longer than expected."""
RANKING_SECONDS = 1.0
"""After that the order of promise is worked out again; ages hardly change before."""


class ScoreTerm(Protocol):
    """A third party's factor in a pair's score: 1 changes nothing, less is worse, 0 forbids."""

    def __call__(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float: ...


@frozen(kw_only=True)
class ModelAffinityParameters:
    """``[router.parameters]`` of model-affinity."""

    objective: Literal["p99", "balanced", "throughput"] = field(
        default="balanced", metadata={"help": "from the lowest p99 to the highest throughput"}
    )
    patience: float = field(
        default=1.5,
        validator=validators.gt(0),
        metadata={"help": "average waits after which a task weighs twice as much"},
    )
    level: float = field(
        default=0.5,
        validator=validators.ge(0),
        metadata={"help": "what one level of priority adds to a task's weight"},
    )
    regret_horizon: float = field(
        default=30.0,
        validator=validators.ge(0),
        metadata={"help": "seconds in which a task for an evicted model would be regretted"},
    )
    overtaken_at_most: float = field(
        default=600.0,
        validator=validators.gt(0),
        metadata={"help": "seconds by which a later task may have come and still go first"},
    )
    preload: bool = field(
        default=True,
        metadata={"help": "load models in demand into idle workers' free memory"},
    )
    terms: tuple[str, ...] = field(
        default=(), metadata={"help": "further factors of the score, as module:function"}
    )


class ModelAffinity(Router):
    """See the module."""

    recheck_after = RECHECK_SECONDS

    def __init__(
        self,
        parameters: ModelAffinityParameters | None = None,
        *,
        terms: Sequence[ScoreTerm] = (),
    ) -> None:
        self.parameters = parameters or ModelAffinityParameters()
        self._kappa = KAPPAS[self.parameters.objective]
        self._terms = [*terms, *(_import_term(name) for name in self.parameters.terms)]
        self._mean_wait = 0.0
        self._ranking: list[tuple[float, float, BacklogView]] = []
        self._ranked_until = 0.0
        self._ranked_version = -1
        self._oldest: BacklogView | None = None
        self._preload_again_at = 0.0

    # ---- the score -----------------------------------------------------------------------------

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        run = board.run_seconds(backlog, worker)
        load, served = self._load(backlog, worker, board, run, now)
        if served <= 0:
            return None
        score = self._weight(backlog.first(FRONT), now) / (
            self._service(run, worker, board) + load / served
        )
        for term in self._terms:
            score *= min(1.0, max(0.0, term(backlog, worker, board, now=now)))
        return score if score > 0 else None

    def explain(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> Mapping[str, float | str]:
        run = board.run_seconds(backlog, worker)
        load, served = self._load(backlog, worker, board, run, now)
        score = self.score(backlog, worker, board, now=now)
        terms: dict[str, float | str] = {
            "weight": self._weight(backlog.first(FRONT), now),
            "run seconds": run,
            "load and regret seconds": load,
            "tasks that share the load": max(0.0, served),
        }
        if score is None:
            return {"waits": "waiting for a worker that has the model is no later"} | terms
        return {"score": score} | terms

    def _weight(self, tasks: Sequence[TaskView], now: float) -> float:
        """Return what one of these tasks weighs: 1, more with priority and with age."""
        patience = self.parameters.patience * max(self._mean_wait, 1e-3)
        ages, levels = 0.0, 0
        for task in tasks:
            ages += now - task.arrived_at
            levels += task.priority
        return 1.0 + (self.parameters.level * levels + ages / patience) / len(tasks)

    def _service(self, run: float, worker: WorkerView, board: BoardView) -> float:
        return self._kappa * run + (1 - self._kappa) * board.mean_run_seconds(worker)

    def _load(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, run: float, now: float
    ) -> tuple[float, float]:
        """Return the seconds before the worker could run, and how many tasks share them.

        No tasks: waiting for the copies there are is no later.
        """
        model = backlog.model
        if worker.has(model):
            return 0.0, 1.0
        if self._idle_copy(backlog, board) is not None:
            return 0.0, 0.0
        if model in worker.loading:  # it was told to load the model ahead of its tasks
            return max(0.0, worker.loading[model] - now), float(min(backlog.demand, MOST_SERVED))
        load = board.load_seconds(model, worker)
        number = len(board.copies(model))
        if not number:
            load += self._regret(model, worker, board, now)
            return load, float(min(backlog.demand, MOST_SERVED))
        work = backlog.demand * run
        wait = (work - run) / number
        # Mostly waiting beats the bare load already, and what it evicts need not be looked at.
        if self._copy_is_free_within(load - wait, backlog, board, now):
            return load, 0.0
        load += self._regret(model, worker, board, now)
        if self._copy_is_free_within(load - wait, backlog, board, now):
            return load, 0.0
        # All copies, this one too once it is loaded, finish the backlog together: what of it is
        # this one's share?
        served = (work - number * load) / ((number + 1) * run)
        return load, max(1.0, min(served, MOST_SERVED))

    def _idle_copy(self, backlog: BacklogView, board: BoardView) -> WorkerView | None:
        for copy in board.idle_copies(backlog.model):
            if board.fits(backlog, copy):
                return copy
        return None

    def _copy_is_free_within(
        self, seconds: float, backlog: BacklogView, board: BoardView, now: float
    ) -> bool:
        """Return whether a worker that has the model should be free that soon."""
        if seconds < 0:
            return False
        # An idle copy is one that still loads: it takes the tasks itself, nobody waits for it.
        for copy in islice(board.copies(backlog.model), MOST_COPIES):
            if not copy.idle and copy.free_at(now) - now <= seconds:
                return True
        return False

    def _regret(self, model: str, worker: WorkerView, board: BoardView, now: float) -> float:
        """Return the seconds of later loads that making room for the model should cost."""
        cost = 0.0
        for victim in board.victims(model, worker):
            rate = board.arrival_rate(victim, now=now)
            soon = 1.0 - exp(-rate * self.parameters.regret_horizon)
            copies = max(1, len(board.copies(victim)))
            cost += board.load_seconds(victim, worker) * soon / copies
        return cost

    # ---- decisions, without scoring everything there is -----------------------------------------

    def choose_backlog(
        self, worker: WorkerView, waiting: Iterable[BacklogView], board: BoardView, *, now: float
    ) -> BacklogView | None:
        best: BacklogView | None = None
        best_score = 0.0
        for model in worker.resident:
            for backlog in board.backlogs_of(model):
                if board.fits(backlog, worker):
                    score = self.score(backlog, worker, board, now=now)
                    if score is not None and score > best_score:
                        best, best_score = backlog, score
        tried = 0
        for promise, _, backlog in self._by_promise(board, worker, now):
            if promise <= best_score or tried == SHORTLIST:
                break
            if not backlog or worker.has(backlog.model) or not board.fits(backlog, worker):
                continue
            tried += 1
            score = self.score(backlog, worker, board, now=now)
            if score is not None and score > best_score:
                best, best_score = backlog, score
        return self._chosen(self._unless_overtaking(best, worker, board, now), now)

    def choose_worker(
        self, backlog: BacklogView, free: Iterable[WorkerView], board: BoardView, *, now: float
    ) -> WorkerView | None:
        warm = self._idle_copy(backlog, board)
        if warm is not None and not self._terms:
            self._chosen(backlog, now)
            return warm
        if warm is None and self._waits_anyway(backlog, board, now):
            return None
        best = super().choose_worker(backlog, islice(free, SHORTLIST), board, now=now)
        if best is not None:
            self._chosen(backlog, now)
        return best

    def _waits_anyway(self, backlog: BacklogView, board: BoardView, now: float) -> bool:
        """Return whether waiting beats even a load without regret, so that none need be scored."""
        number = len(board.copies(backlog.model))
        if not number:
            return False
        wait = (backlog.demand - 1) * board.declared_seconds(backlog) / number
        load = board.least_load_seconds(backlog.model)
        return self._copy_is_free_within(load - wait, backlog, board, now)

    def _by_promise(
        self, board: BoardView, worker: WorkerView, now: float
    ) -> Sequence[tuple[float, float, BacklogView]]:
        """Return the backlogs by the best score that a worker without the model could give them.

        Worked out for one worker and used for all: exact scores decide, this is their order.
        """
        # A long ranking is not made anew for each backlog that comes or goes: those that came are
        # asked about by themselves.
        outdated = self._ranked_version != board.version and len(self._ranking) < SHORTLIST
        if now >= self._ranked_until or outdated:
            self._ranking = [
                (self._promise(backlog, worker, board, now), -backlog.first()[0].rank, backlog)
                for backlog in board.backlogs()
            ]
            self._oldest = max(self._ranking, key=_age, default=(0.0, 0.0, None))[2]
            self._ranking.sort(key=_promise, reverse=True)
            self._ranked_until = now + RANKING_SECONDS
            self._ranked_version = board.version
        return self._ranking

    def _promise(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, now: float
    ) -> float:
        run = board.declared_seconds(backlog)
        load = board.load_seconds(backlog.model, worker)
        served = min(backlog.demand, MOST_SERVED)
        weight = self._weight(backlog.first(FRONT), now)
        return weight / (self._service(run, worker, board) + load / served)

    def _unless_overtaking(
        self, best: BacklogView | None, worker: WorkerView, board: BoardView, now: float
    ) -> BacklogView | None:
        """Return what was chosen, or the oldest task's backlog if it has been passed by too long.

        Two arrivals are compared, not an age with a limit: that would turn an overload into
        first-come-first-served, and a model into a guest of each worker.
        """
        oldest = self._oldest
        if best is None or oldest is None or oldest is best or not oldest:
            return best
        lead = best.first()[0].rank - oldest.first()[0].rank
        if lead <= self.parameters.overtaken_at_most or not board.fits(oldest, worker):
            return best
        return oldest if self.score(oldest, worker, board, now=now) is not None else best

    def _chosen(self, backlog: BacklogView | None, now: float) -> BacklogView | None:
        """Learn how long tasks wait."""
        if backlog is not None:
            wait = max(0.0, now - backlog.first()[0].arrived_at)
            self._mean_wait += WAIT_WEIGHT * (wait - self._mean_wait)
        return backlog

    # ---- preloading ----------------------------------------------------------------------------

    def choose_preload(self, board: BoardView, *, now: float) -> tuple[WorkerView, str] | None:
        """Load a model that tasks keep coming for and nobody has, if that disturbs nobody.

        One at a time, only while nothing waits and another worker stays idle, and only into free
        memory: loading whatever might be wanted makes everything later.
        """
        if not self.parameters.preload or now < self._preload_again_at:
            return None
        self._preload_again_at = now + 1.0
        if next(iter(board.backlogs()), None) is not None:
            return None
        idle = list(islice((worker for worker in board.workers() if worker.idle), SHORTLIST))
        wanted = [
            (rate, model)
            for model in board.models()
            if not board.copies(model) and (rate := board.arrival_rate(model, now=now)) > 0.005
        ]
        if len(idle) < 2 or not wanted:
            return None
        for _, model in sorted(wanted, reverse=True):
            for worker in idle:
                if board.offers(model, worker) and not board.victims(model, worker):
                    return worker, model
        return None


def _promise(item: tuple[float, float, BacklogView]) -> float:
    return item[0]


def _age(item: tuple[float, float, BacklogView]) -> float:
    return item[1]


def _import_term(name: str) -> ScoreTerm:
    """Return the function that ``module:function`` names.

    Raises:
        ValueError: there is none.
    """
    module_name, _, attribute = name.partition(":")
    try:
        term = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"terms: {name!r} cannot be imported: {error}") from error
    found: ScoreTerm = term
    return found


def paintmq_register_routers(register: "RegisterRouter") -> None:
    register("model-affinity", ModelAffinity, ModelAffinityParameters)
