"""The simplest router there is, for tests that are about something else."""

from paintmq.routing import BacklogView, BoardView, Router, WorkerView


class PlainRouter(Router):
    """The first task to arrive, on the worker that has been idle longest."""

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        return 1.0
