"""model-affinity: keep models where they are, and load one only when that beats waiting.

A pair's score is ``S = W / (c + T)``: the weight of the tasks that would be served (how many, how
long they wait, how urgent), over the time the worker would be taken: the load that remains and the
eviction's regret (c), and the runs themselves (T). A copy is added exactly when waiting for the
copies there are would take longer than one more load (ski rental).
"""

from collections.abc import Sequence
from math import exp
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen, validators

from paintmq.routing import BacklogView, BoardView, Router, TaskView, WorkerView

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterRouter

KAPPAS = {"p99": 0.0, "balanced": 0.5, "throughput": 1.0}


@frozen(kw_only=True)
class ModelAffinityParameters:
    """``[router.parameters]`` of model-affinity."""

    objective: Literal["p99", "balanced", "throughput"] = "balanced"
    ageing: float = field(default=60.0, validator=validators.gt(0))
    batch: int = field(default=16, validator=[validators.ge(1), validators.le(64)])
    regret_horizon: float = field(default=30.0, validator=validators.ge(0))
    preload: bool = True


class ModelAffinity(Router):
    """See the module."""

    recheck_after = 0.25

    def __init__(self, parameters: ModelAffinityParameters | None = None) -> None:
        self.parameters = parameters or ModelAffinityParameters()
        self._kappa = KAPPAS[self.parameters.objective]

    def weight(self, tasks: Sequence[TaskView], now: float) -> float:
        ageing = self.parameters.ageing
        return sum(
            1.0 + 0.5 * task.priority + max(0.0, now - task.arrived_at) / ageing for task in tasks
        )

    def regret(self, model: str, worker: WorkerView, board: BoardView, now: float) -> float:
        """Return the seconds of later loads that making room for the model should cost."""
        cost = 0.0
        for victim in board.victims(model, worker):
            copies = max(1, sum(1 for _ in board.copies(victim)))
            rate = board.arrival_rate(victim, now=now)
            soon = 1.0 - exp(-rate * self.parameters.regret_horizon)
            cost += board.load_seconds(victim, worker) * soon / copies
        return cost

    def cost(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, now: float
    ) -> float | None:
        """Return the seconds until the worker could run; None when waiting is no worse."""
        model = backlog.model
        if worker.has(model):
            return 0.0
        cost = board.load_seconds(model, worker) + self.regret(model, worker, board, now)
        warm = [copy for copy in board.copies(model) if copy is not worker]
        if not warm:
            return cost
        if any(copy.idle and copy.has(model) for copy in warm):
            return None
        run = board.run_seconds(backlog, worker)
        soonest = min(copy.free_at(now) for copy in warm) - now
        if soonest + (len(backlog) - 1) * run / len(warm) <= cost:
            return None
        return cost

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        cost = self.cost(backlog, worker, board, now)
        if cost is None:
            return None
        tasks = backlog.first(self.parameters.batch)
        run = board.run_seconds(backlog, worker)
        mean = board.mean_run_seconds(worker)
        seconds = len(tasks) * (self._kappa * run + (1 - self._kappa) * mean)
        return self.weight(tasks, now) / (cost + seconds)


def paintmq_register_routers(register: "RegisterRouter") -> None:
    register("model-affinity", ModelAffinity, ModelAffinityParameters)
