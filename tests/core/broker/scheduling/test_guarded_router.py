"""No fault of a router costs a task its turn, whatever it raises or answers."""

from typing import Any

import pytest
from tests.harness.odd_values import EXCEPTIONS, VALUES, Hostile, raising, returning
from tests.harness.scheduler_harness import (
    join,
    make_scheduler,
    make_task,
    make_worker,
    numbers,
    picks,
)

from paintmq.broker.scheduling.scheduler import Scheduler
from paintmq.routing import Router
from paintmq.testing.plain_router import PlainRouter

CALLS = ("score", "choose_backlog", "choose_worker", "choose_queue", "choose_preload", "explain")


def make_router(**functions: Any) -> Router:
    """Return a router of a class with these methods or attributes."""
    methods = {
        name: staticmethod(each) if callable(each) else each for name, each in functions.items()
    }
    router: Router = type("Odd", (PlainRouter,), methods)()
    return router


def day(router: Router) -> Scheduler:
    """Have an engine take all kinds of decisions by this router; return the engine."""
    scheduler = make_scheduler(router)
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("a"))
    given = numbers(picks(scheduler))
    join(scheduler, make_worker("b"))
    picks(scheduler)
    scheduler.add(make_task(2), now=1.0)
    given += numbers(picks(scheduler, now=1.0))
    scheduler.next_preload(now=1.0)
    scheduler.next_wakeup(now=1.0)
    scheduler.add(make_task(3), now=1.0)
    scheduler.replace_router(router, now=2.0)
    queue = scheduler.choose_queue(make_task(4).checked, ["cpu-light", "serverless"], now=2.0)

    assert given == [1, 2], "as they came"
    assert type(queue) is str
    assert queue in ("cpu-light", "serverless")
    scheduler.conserves_work(now=2.0)
    scheduler.check_invariants()
    return scheduler


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", EXCEPTIONS)
def test_whatever_a_call_raises_tasks_go_to_workers_as_they_came(call: str, error: str) -> None:
    scheduler = day(make_router(**{call: raising(EXCEPTIONS[error])}))

    assert call == "explain" or scheduler.faults
    scheduler.last_fault.encode("utf-8")


@pytest.mark.parametrize(
    "call", ["choose_backlog", "choose_worker", "choose_queue", "choose_preload", "explain"]
)
@pytest.mark.parametrize("value", sorted(VALUES.keys() - {"None"}))
def test_whatever_a_call_returns_tasks_go_to_workers_as_they_came(call: str, value: str) -> None:
    assert call == "explain" or day(make_router(**{call: returning(VALUES[value])})).faults


@pytest.mark.parametrize("value", VALUES)
def test_a_level_of_priority_that_is_worth_no_number_is_worth_nothing(value: str) -> None:
    router = type("Odd", (PlainRouter,), {"level_seconds": VALUES[value]})()

    assert day(router).faults


@pytest.mark.parametrize("value", VALUES)
def test_a_router_that_cannot_say_when_to_ask_again_is_asked_when_something_happens(
    value: str,
) -> None:
    router = make_router(score=returning(None))
    type(router).recheck_after = VALUES[value]
    scheduler = make_scheduler(router)
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("a"))

    assert picks(scheduler) == []
    assert scheduler.next_wakeup(now=0.0) is None
    assert bool(scheduler.faults) == (value != "None")


@pytest.mark.parametrize("name", ["recheck_after", "level_seconds"])
def test_seconds_that_raise_count_for_nothing(name: str) -> None:
    odd = property(raising(SystemExit(1)))
    router = type("Odd", (PlainRouter,), {name: odd, "score": returning(None)})()
    scheduler = make_scheduler(router)
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("a"))
    picks(scheduler)

    assert scheduler.next_wakeup(now=0.0) is None
    assert scheduler.last_fault == "it called sys.exit(1)"


def test_a_pair_that_a_router_fails_to_score_counts_as_one_it_would_take() -> None:
    """I21: work that waits beside an idle worker is never excused by a fault."""
    scheduler = make_scheduler(
        make_router(
            choose_worker=returning(None),
            choose_backlog=returning(None),
            score=raising(SystemExit(1)),
        )
    )
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("a"))

    assert picks(scheduler) == []
    assert not scheduler.conserves_work(now=0.0)
    assert scheduler.last_fault == "it called sys.exit(1)"


@pytest.mark.parametrize("error", EXCEPTIONS)
def test_a_router_that_cannot_explain_itself_says_so(error: str) -> None:
    scheduler = make_scheduler(
        make_router(choose_worker=returning(None), explain=raising(EXCEPTIONS[error]))
    )
    scheduler.add(make_task(1), now=0.0)
    router = scheduler.router
    scheduler.replace_router(router, now=0.0)
    join(scheduler, make_worker("a"))

    (verdict,) = scheduler.explain(make_task(1).request.id, now=0.0).workers
    assert verdict.reason.startswith("router Odd cannot explain itself: ")


@pytest.mark.parametrize(
    "terms",
    [
        {"score": 10**400},
        {"score": "\ud800", "\ud800": 1},
        {"score": Hostile()},
        {Hostile: 1},
        {str(number): 1.0 for number in range(1_000)},
        [("score", 1.0)],
        None,
    ],
)
def test_terms_of_a_score_are_plain_and_few(terms: Any) -> None:
    scheduler = make_scheduler(make_router(explain=returning(terms)))
    scheduler.add(make_task(1), now=0.0)
    join(scheduler, make_worker("a"))

    (verdict,) = scheduler.explain(make_task(1).request.id, now=0.0).workers
    assert len(verdict.terms) <= 100
    for name, value in verdict.terms.items():
        f"{name}{value}".encode()
        assert type(value) in (float, str)
