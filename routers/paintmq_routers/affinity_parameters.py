"""What an operator may set about model-affinity, and what a third party may add to its score."""

from importlib import import_module
from typing import Literal, Protocol

from attrs import field, frozen, validators

from paintmq.routing import BacklogView, BoardView, WorkerView

__all__ = ["ModelAffinityParameters", "Objective", "ScoreTerm", "import_term"]


class ScoreTerm(Protocol):
    """A third party's factor in a pair's score: 1 changes nothing, less is worse, 0 forbids."""

    def __call__(
        self, backlog: BacklogView, worker: WorkerView, board: BoardView, *, now: float
    ) -> float: ...


@frozen(kw_only=True)
class Objective:
    """A position of the dial."""

    own_run: float
    """How much a task's own run time counts, compared with the average: 1 favours short tasks,
    which lowers the mean; 0 treats all the same, which lowers the longest waits."""
    impatience: float
    """How much faster than usual a task's weight grows with its age."""
    load_price: float
    """Seconds of running that a second of loading counts as."""


OBJECTIVES = {
    "p99": Objective(own_run=0.0, impatience=2.0, load_price=1.0),
    "balanced": Objective(own_run=0.7, impatience=1.0, load_price=1.0),
    "throughput": Objective(own_run=1.0, impatience=0.5, load_price=3.0),
}


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
    overtaken_at_most: float = field(
        default=10_800.0,
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


def import_term(name: str) -> ScoreTerm:
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
