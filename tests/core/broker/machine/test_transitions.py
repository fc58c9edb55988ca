"""The life of a task is one table, and what is not in it does not happen."""

from itertools import product
from pathlib import Path

import pytest
from tests.harness.broker_harness import ready

from paintmq.broker.machine.transitions import (
    RECORDS,
    TIMERS,
    TRANSITIONS,
    Event,
    check,
    diagram,
    table,
)
from paintmq.task import TaskState

PAGE = Path(__file__).parents[4] / "core/README.md"


def timers_of(state: TaskState | None) -> frozenset[str]:
    return frozenset() if state is None else frozenset[str](TIMERS[state].always)


def test_every_event_and_every_ending_is_in_the_table() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event) == set(RECORDS)
    assert {after for after in TRANSITIONS.values() if after} == set(TIMERS)


def test_an_ended_task_changes_no_more_unless_it_is_dead_and_revived() -> None:
    """I3."""
    ways = {(state, event) for state, event in TRANSITIONS if state.is_final}

    ended = [state for state in TaskState if state.is_final]
    kept = set(product(ended, ("acknowledge", "adopt", "purge")))
    assert ways == kept | {(TaskState.DEAD, "revive")}
    for event in (Event.ACKNOWLEDGE, Event.ADOPT):
        assert all(TRANSITIONS[state, event] is state for state in ended)


@pytest.mark.parametrize(("before", "event"), [*product(TaskState, Event)])
def test_a_transition_is_an_error_unless_the_table_has_it(before: TaskState, event: Event) -> None:
    for after in (*TIMERS, None):
        if (before, event) in TRANSITIONS and TRANSITIONS[before, event] is after:
            assert check(before, event, after, timers_of(after)) == RECORDS[event]
        else:
            with pytest.raises(AssertionError, match="leads to"):
                check(before, event, after, timers_of(after))


@pytest.mark.parametrize("timers", [(), ("lease",), ("lease", "run", "purge")])
def test_a_lease_without_its_timers_or_with_others_is_an_error(timers: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match="lease to leased with"):
        check(TaskState.QUEUED, Event.LEASE, TaskState.LEASED, timers)


def test_a_task_that_has_a_timer_of_another_state_is_noticed() -> None:
    broker = ready()
    task = broker.submit()
    entry = broker.machine._tasks.get(task.id)
    assert entry is not None
    entry.timers = entry.timers | {"purge": broker.now + 1.0}

    with pytest.raises(AssertionError, match="is leased with the timers"):
        broker.machine.check_invariants()


def test_the_page_shows_the_table_and_its_diagram() -> None:
    page = PAGE.read_text("utf-8")
    remedy = "put what diagram() and table() of broker/machine/transitions.py return into it"

    assert f"```mermaid\n{diagram()}\n```" in page, remedy
    assert table() in page, remedy
