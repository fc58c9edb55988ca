"""The plain queue that takes the place of a router that did not return."""

from typing import Any

from paintmq.broker.scheduling.guarded_router import FirstCome


def test_all_tasks_are_worth_the_same_and_why_is_told() -> None:
    nothing: Any = None
    router = FirstCome("mine", "its score did not return")

    assert router.score(nothing, nothing, nothing, now=1.0) == 0.0
    told = router.explain(nothing, nothing, nothing, now=1.0)
    assert told == {"router": "mine is not asked any more: its score did not return"}
