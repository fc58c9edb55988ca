"""shortest-first: what is quickly done goes first, what has waited long is not forgotten."""

from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from paintmq.routing import BacklogView, BoardView, Router, WorkerView

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterRouter


@frozen(kw_only=True)
class Parameters:
    """What ``[router] parameters`` may hold; checked when the settings are read."""

    patience: float = field(
        default=0.1,
        validator=[validators.gt(0), validators.le(1)],
        metadata={"help": "seconds of work that a second of waiting makes up for"},
    )


class ShortestFirst(Router):
    """A pure function of what it is shown: no clock, no randomness, nothing remembered."""

    def __init__(self, parameters: Parameters) -> None:
        self._patience = parameters.patience

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float:
        """Return how good it is for the worker to start the backlog's first task now.

        The rank of a task is when it came, less a minute for each level of priority: so ``now``
        less the rank is how long it has waited, and urgent tasks count as having waited longer.
        """
        work = board.run_seconds(backlog, worker) + board.load_seconds(backlog.model, worker)
        waited = now - backlog.first()[0].rank
        return self._patience * waited - work


def paintmq_register_routers(register: "RegisterRouter") -> None:
    register("shortest-first", ShortestFirst, Parameters)
