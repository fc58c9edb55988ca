"""Turns are counted by how long they took."""

from typing import Any

from paintmq.broker.turns import BOUNDS, TurnTimes


def test_a_turn_counts_with_those_up_to_the_bound_above_it() -> None:
    turns = TurnTimes()
    for seconds in (0.0, BOUNDS[0], 0.02, 0.02, 60.0):
        turns.took(seconds)
    described: Any = turns.describe()

    counted = dict(zip([*described["bounds"], float("inf")], described["counts"], strict=True))
    assert counted.pop(BOUNDS[0]) == 2
    assert counted.pop(float("inf")) == 1
    (bound,) = (bound for bound, count in counted.items() if count)
    assert counted[bound] == 2
    assert 0.02 <= bound <= 0.02 * 1.15
    assert described["longest"] == 60.0
