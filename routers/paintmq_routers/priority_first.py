"""priority-first: higher levels first, strictly, but for a bounded wait of the lower ones.

A task goes before every task of the next lower level that did not come ``level_seconds`` before it.
So levels are strict while a service keeps up, and the wait of the lowest is bounded when it does
not. Among tasks that came at about the same time, those whose model the worker has go first.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import field, frozen, validators

from paintmq.routing import BacklogView, BoardView, Router, WorkerView

if TYPE_CHECKING:
    from paintmq.hookspecs import RegisterRouter


@frozen(kw_only=True)
class PriorityFirstParameters:
    """``[router.parameters]`` of priority-first."""

    level_seconds: float = field(
        default=600.0,
        validator=validators.gt(0),
        metadata={"help": "seconds of waiting that a level outweighs, on top of [timers] ageing"},
    )
    warm_seconds: float = field(
        default=20.0,
        validator=validators.ge(0),
        metadata={"help": "how much later a task may have come if its model is there already"},
    )


class PriorityFirst(Router):
    """See the module."""

    def __init__(self, parameters: PriorityFirstParameters | None = None) -> None:
        self.parameters = parameters or PriorityFirstParameters()
        self.level_seconds = self.parameters.level_seconds

    def score(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float | None:
        load = 0.0 if worker.has(backlog.model) else board.load_seconds(backlog.model, worker)
        return -(load + board.run_seconds(backlog, worker))

    def choose_backlog(
        self, worker: WorkerView, waiting: Iterable[BacklogView], board: BoardView, *, now: float
    ) -> BacklogView | None:
        oldest = next(iter(waiting), None)  # they come by rank
        if oldest is None:
            return None
        warm = [
            backlog
            for model in worker.resident
            for backlog in board.backlogs_of(model)
            if board.fits(backlog, worker)
        ]
        best = min(warm, key=lambda backlog: backlog.first()[0].rank, default=oldest)
        late = best.first()[0].rank - oldest.first()[0].rank
        return best if late <= self.parameters.warm_seconds else oldest


def paintmq_register_routers(register: "RegisterRouter") -> None:
    register("priority-first", PriorityFirst, PriorityFirstParameters)
