"""Model weights on this machine: where they lie, whether they are the right ones, getting them."""

from paintmq.weights.first_look import kind_of, weight_objection
from paintmq.weights.folder import (
    WeightFolder,
    WeightState,
    WeightStatus,
    check_runnable_weights,
    weight_problem,
    weight_status,
)

__all__ = [
    "WeightFolder",
    "WeightState",
    "WeightStatus",
    "check_runnable_weights",
    "kind_of",
    "weight_objection",
    "weight_problem",
    "weight_status",
]
