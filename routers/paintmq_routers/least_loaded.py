"""least-loaded: the worker, and the queue, with the least expected work; tasks in order of rank.

Work is counted in the seconds that a task should take there, loading its model included, never in
tasks. No task waits while a worker that could run it is free.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import frozen

from paintmq.routing import BacklogView, BoardView, Router, WorkerView

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterRouter


@frozen
class LeastLoadedParameters:
    """least-loaded has no parameters."""


class LeastLoaded(Router):
    """Each worker takes the task that came first; each task goes where it should end soonest."""

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        load = 0.0 if worker.has(backlog.model) else board.load_seconds(backlog.model, worker)
        return -(load + board.run_seconds(backlog, worker))

    def choose_backlog(
        self, worker: WorkerView, waiting: Iterable[BacklogView], board: BoardView, *, now: float
    ) -> BacklogView | None:
        return next(iter(waiting), None)  # they come by rank


def paintmq_register_routers(register: "RegisterRouter") -> None:
    register("least-loaded", lambda parameters: LeastLoaded(), LeastLoadedParameters)
