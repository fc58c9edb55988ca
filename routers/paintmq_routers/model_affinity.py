"""model-affinity: keep models where they are, and load one only when that beats waiting.

A pair's score is ``w / (T + c / n)``: what a task weighs (its age, its priority), over what serving
it takes: its run (T) and its share of the load (c), which the ``n`` tasks that the copy would come
to serve bear together. Three rules keep that honest:

- The load counts with what it evicts: the regret of having to load that again.
- A further copy is made only where waiting for the copies there are would take longer (ski rental),
  so bursts spread and trickles do not.
- A load is shared by ``n`` tasks only if they are served. So a model that tasks still wait for is
  evicted only for tasks that weigh ``STAY`` times as much: an overloaded worker that changed models
  whenever another's first task became the older one would do little but load.

No weight is measured in seconds: ages are compared with what tasks have lately waited, reuse with
how long models have lately stayed. So the same parameters hold whether tasks take milliseconds or
minutes. The longer tasks wait, the more a second of loading counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import exp
from typing import TYPE_CHECKING

from paintmq.routing import BacklogView, BoardView, Router, WorkerView
from paintmq_routers.affinity_parameters import (
    OBJECTIVES,
    ModelAffinityParameters,
    ScoreTerm,
    import_term,
)

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterRouter

STAY = 5.0
"""How many times more tasks must weigh to evict a model that others wait for."""
RESIDENCES = 2.0
"""An evicted model is regretted if a task comes for it within this many times the time for which
evicted models had recently been unused."""
MOST_SERVED = 1000
"""Most tasks that one load is shared among."""
LEARNING = 0.02
"""Weight of one task in the moving average of waits: the last fifty or so count."""
RESIDENCE_LEARNING = 0.05
"""Weight of one eviction in the moving average of residences."""
COLD_TRIED = 6
"""Models a free worker lacks that are tried for it, in order of promise."""
FREE_TRIED = 6
"""Free workers that are tried for a model that none of them has."""
MOST_COPIES = 16
"""Copies that are asked when they will be free."""
CONGESTED = 10.0
"""Run times that tasks wait on average when a second of loading counts twice, as it does at most:
it delays them all."""
RECHECK_SECONDS = 0.25
"""Seconds after which a declined pair is reconsidered: a run may take longer than expected."""
RANKING_SECONDS = 1.0
"""Seconds after which the order of promise is recomputed; ages hardly change before."""


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
        self._objective = OBJECTIVES[self.parameters.objective]
        self._terms = [*terms, *(import_term(name) for name in self.parameters.terms)]
        self._mean_wait = 0.0
        self._load_price = self._objective.load_price
        self._congestion = 0.0
        self._residence = 30.0
        self._ranking: list[tuple[float, int, BacklogView]] = []
        self._ranked_until = 0.0
        self._ranked_version = -1
        self._ranking_uses = 0
        self._smallest = ""
        self._oldest: BacklogView | None = None
        self._preload_again_at = 0.0

    # ---- the score -----------------------------------------------------------------------------

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        return self._score(backlog, worker, board, now, 0.0)

    def explain(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> Mapping[str, float | str]:
        run = board.run_seconds(backlog, worker)
        warm = worker.has(backlog.model)
        regret = 0.0 if warm else self._regret(backlog.model, worker, board, now)[0]
        load, served = self._load(backlog, worker, board, run, now, regret)
        score = self.score(backlog, worker, board, now=now)
        terms: dict[str, float | str] = {
            "weight": self._weight(backlog, now),
            "run seconds": run,
            "load and regret seconds": load,
            "tasks that share the load": served,
        }
        if score is None:
            return {"waits": "waiting for a worker that has the model is no later"} | terms
        return {"score": score} | terms

    def _score(
        self,
        backlog: BacklogView,
        worker: WorkerView,
        board: BoardView,
        now: float,
        at_least: float,
    ) -> float | None:
        """Return the score if it is above ``at_least``."""
        run = board.run_seconds(backlog, worker)
        weight = self._weight(backlog, now)
        service = self._service(run, worker, board)
        if worker.has(backlog.model):
            score = weight / service
        else:
            if weight <= at_least * service:
                return None
            regret, wanted = self._regret(backlog.model, worker, board, now)
            if wanted:
                weight /= STAY
                if weight <= at_least * service:
                    return None
            load, served = self._load(backlog, worker, board, run, now, regret)
            if served <= 0:
                return None
            score = weight / (service + load / served)
        for term in self._terms:
            score *= min(1.0, max(0.0, term(backlog, worker, board, now=now)))
        return score if score > at_least else None

    def _weight(self, backlog: BacklogView, now: float) -> float:
        """Return what one of its first tasks weighs: 1, more with priority and with age."""
        patience = self.parameters.patience * max(self._mean_wait, 1e-3)
        age = (now - backlog.front_arrived_at) * self._objective.impatience / patience
        return 1.0 + self.parameters.level * backlog.front_priority + age

    def _service(self, run: float, worker: WorkerView, board: BoardView) -> float:
        own = self._objective.own_run
        return own * run + (1.0 - own) * board.mean_run_seconds(worker)

    def _load(
        self,
        backlog: BacklogView,
        worker: WorkerView,
        board: BoardView,
        run: float,
        now: float,
        regret: float,
        *,
        anywhere: bool = False,
    ) -> tuple[float, float]:
        """Return the seconds before the worker could run, and how many tasks share them.

        No tasks: waiting for the copies there are is no later. ``anywhere``: on another one like
        this, that does not have the model.
        """
        model = backlog.model
        if not anywhere and worker.has(model):
            return 0.0, 1.0
        if any(board.fits(backlog, copy) for copy in board.idle_copies(model)):
            return 0.0, 0.0
        demand = backlog.demand
        if (
            not anywhere and model in worker.loading
        ):  # it was told to load the model ahead of its tasks
            return max(0.0, worker.loading[model] - now), min(demand, MOST_SERVED)
        load = self._load_price * board.load_seconds(model, worker) + regret
        number = len(board.copies(model))
        if not number:
            return load, min(demand, MOST_SERVED)
        work = demand * run
        if self._copy_is_free_within(load - (work - run) / number, backlog, board, now):
            return load, 0.0
        # All copies, this one too once it is loaded, finish the backlog together: what of it is
        # this one's share?
        served = (work - number * load) / ((number + 1) * run)
        return load, max(1.0, min(served, MOST_SERVED))

    def _idle_copy(self, backlog: BacklogView, board: BoardView) -> WorkerView | None:
        """Return the idle worker with the model that runs the task fastest; of equals, the longest
        idle.
        """
        best: WorkerView | None = None
        for copy in islice(board.idle_copies(backlog.model), FREE_TRIED):
            if best is not None and (
                copy.device_name == best.device_name  # then they run equally fast
                or board.run_seconds(backlog, copy) >= board.run_seconds(backlog, best)
            ):
                continue
            if board.fits(backlog, copy):
                best = copy
        return best

    def _copy_is_free_within(
        self, seconds: float, backlog: BacklogView, board: BoardView, now: float
    ) -> bool:
        """Return whether a worker that has the model should be free that soon."""
        if seconds < 0:
            return False
        until = now + seconds
        # An idle copy is one that is still loading: it takes the tasks itself, so none waits for
        # it.
        for copy in islice(board.copies(backlog.model), MOST_COPIES):
            if not copy.idle and copy.free_at(now) <= until:
                return True
        return False

    def _regret(
        self, model: str, worker: WorkerView, board: BoardView, now: float
    ) -> tuple[float, bool]:
        """Return the seconds of later loads that making room for the model should cost.

        And whether tasks that the worker could run wait for what it would evict.
        """
        cost, wanted = 0.0, False
        for victim in board.victims(model, worker):
            rate = board.arrival_rate(victim, now=now)
            soon = 1.0 - exp(-rate * RESIDENCES * self._residence)
            cost += board.load_seconds(victim, worker) * soon / max(1, len(board.copies(victim)))
            wanted = wanted or any(
                board.fits(backlog, worker) for backlog in board.backlogs_of(victim)
            )
        return self._load_price * cost, wanted

    # ---- decisions, without scoring everything there is -----------------------------------------

    def choose_backlog(
        self, worker: WorkerView, waiting: Iterable[BacklogView], board: BoardView, *, now: float
    ) -> BacklogView | None:
        self._load_price = self._objective.load_price * (1.0 + self._congestion)
        best: BacklogView | None = None
        best_score = 0.0
        for model in worker.resident:
            for backlog in board.backlogs_of(model):
                if board.fits(backlog, worker):
                    score = self._score(backlog, worker, board, now, best_score)
                    if score is not None:
                        best, best_score = backlog, score
        ranking = self._by_promise(board, worker, now)
        tried, hurdle = 0, 1.0
        if best is not None and self._regret(self._smallest, worker, board, now)[1]:
            # So whatever it loads, it would evict a model that tasks wait for.
            hurdle = STAY
        for promise, _, backlog in ranking:
            if promise <= best_score * hurdle or tried == COLD_TRIED:
                break
            if not backlog or worker.has(backlog.model) or not board.fits(backlog, worker):
                continue
            tried += 1
            score = self._score(backlog, worker, board, now, best_score)
            if score is not None:
                best, best_score = backlog, score
        best = self._unless_overtaking(best, worker, board, now)
        if best is not None:
            self._learn(best, worker, board, now)
        return best

    def choose_worker(
        self, backlog: BacklogView, free: Iterable[WorkerView], board: BoardView, *, now: float
    ) -> WorkerView | None:
        self._load_price = self._objective.load_price  # a free worker's time delays no task
        best = self._idle_copy(backlog, board)
        if best is None or self._terms:
            if best is None and self._waits_anyway(backlog, board, now):
                return None
            best, best_score = None, 0.0
            for worker in islice(free, FREE_TRIED):
                score = self._score(backlog, worker, board, now, best_score)
                if score is not None:
                    best, best_score = worker, score
        if best is not None:
            self._learn(backlog, best, board, now)
        return best

    def _waits_anyway(self, backlog: BacklogView, board: BoardView, now: float) -> bool:
        """Return whether waiting beats even a load without regret, so that none need be scored."""
        number = len(board.copies(backlog.model))
        if not number:
            return False
        wait = (backlog.demand - 1) * board.declared_seconds(backlog) / number
        load = self._load_price * board.least_load_seconds(backlog.model)
        return self._copy_is_free_within(load - wait, backlog, board, now)

    def _by_promise(
        self, board: BoardView, worker: WorkerView, now: float
    ) -> Sequence[tuple[float, int, BacklogView]]:
        """Return the backlogs by the best score that a worker without the model could give them.

        Worked out for one worker and used for all: exact scores decide, this is their order.
        """
        # A long ranking is not recomputed for each backlog that comes or goes, but after it was
        # used as often as it is long: so its cost per decision is constant, however many models
        # there are.
        self._ranking_uses += 1
        outdated = self._ranked_version != board.version and self._ranking_uses > len(self._ranking)
        if now >= self._ranked_until or outdated:
            self._ranking_uses = 0
            self._ranked_until = now + RANKING_SECONDS
            self._ranked_version = board.version
            backlogs = list(board.backlogs())
            self._oldest = backlogs[0] if backlogs else None
            smallest = min(backlogs, key=lambda backlog: backlog.spec.resident_mb, default=None)
            self._smallest = smallest.model if smallest is not None else ""
            self._ranking = [
                (self._promise(backlog, worker, board, now), -place, backlog)
                for place, backlog in enumerate(backlogs)
            ]
            self._ranking.sort(reverse=True)
        return self._ranking

    def _promise(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, now: float
    ) -> float:
        run = board.declared_seconds(backlog)
        load, served = self._load(backlog, worker, board, run, now, regret=0.0, anywhere=True)
        if served <= 0:
            return 0.0
        return self._weight(backlog, now) / (self._service(run, worker, board) + load / served)

    def _unless_overtaking(
        self, best: BacklogView | None, worker: WorkerView, board: BoardView, now: float
    ) -> BacklogView | None:
        """Return what was chosen, or the oldest task's backlog if it has been passed by too long.

        Two arrivals are compared, not an age with a limit, and the limit is a long one: in an
        overload each such rescue costs a load, which makes more tasks old.
        """
        oldest = self._oldest
        if best is None or oldest is None or oldest is best or not oldest:
            return best
        lead = best.first()[0].rank - oldest.first()[0].rank
        if lead <= self.parameters.overtaken_at_most or not board.fits(oldest, worker):
            return best
        return oldest if self.score(oldest, worker, board, now=now) is not None else best

    def _learn(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, now: float
    ) -> None:
        """Learn from a decision how long tasks wait and how long models stay unused."""
        wait = max(0.0, now - backlog.first()[0].arrived_at)
        self._mean_wait += LEARNING * (wait - self._mean_wait)
        congestion = self._mean_wait / (CONGESTED * board.mean_run_seconds(worker))
        self._congestion = min(1.0, congestion)
        if not worker.has(backlog.model):
            for victim in board.victims(backlog.model, worker):
                unused = now - worker.resident[victim].used_at
                self._residence += RESIDENCE_LEARNING * (unused - self._residence)

    # ---- preloading ----------------------------------------------------------------------------

    def choose_preload(self, board: BoardView, *, now: float) -> tuple[WorkerView, str] | None:
        """Load a model that tasks keep coming for and no worker has, if that delays nothing.

        One at a time, only while nothing waits and another worker stays idle, and only into free
        memory: loading whatever might be wanted makes everything later.
        """
        if not self.parameters.preload or now < self._preload_again_at:
            return None
        self._preload_again_at = now + 1.0
        if next(iter(board.backlogs()), None) is not None:
            return None
        idle = list(islice((worker for worker in board.workers() if worker.idle), FREE_TRIED))
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


def paintmq_register_routers(register: "RegisterRouter") -> None:
    register("model-affinity", ModelAffinity, ModelAffinityParameters)
