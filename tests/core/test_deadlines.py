"""Deadlines by key."""

import hypothesis.strategies as st
from hypothesis import given

from paintmq.deadlines import SLACK, Deadlines


def test_what_is_due_comes_earliest_first() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("late", 3.0)
    deadlines.set("early", 1.0)
    deadlines.set("never", 9.0)

    assert list(deadlines.pop_due(3.0)) == ["early", "late"]


def test_a_deadline_moved_away_is_not_due_at_its_old_time() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("lease", 1.0)
    deadlines.set("lease", 5.0)

    assert deadlines.next() == 5.0
    assert list(deadlines.pop_due(4.9)) == []
    assert list(deadlines.pop_due(5.0)) == ["lease"]


def test_a_deadline_moved_nearer_is_due_once() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("lease", 5.0)
    deadlines.set("lease", 1.0)

    assert list(deadlines.pop_due(9.0)) == ["lease"]


def test_a_discarded_key_may_be_set_again() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("lease", 1.0)
    deadlines.discard("lease")
    assert deadlines.next() is None

    deadlines.set("lease", 2.0)

    assert "lease" in deadlines
    assert deadlines.get("lease") == 2.0
    assert list(deadlines.pop_due(2.0)) == ["lease"]


def test_what_is_discarded_by_acting_on_another_is_not_due_any_more() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("client", 1.0)
    deadlines.set("its lease", 1.0)
    seen = []
    for key in deadlines.pop_due(1.0):
        seen.append(key)
        deadlines.discard("its lease")

    assert seen == ["client"]


changes = st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.floats(0, 10)), max_size=30)


@given(changes, st.floats(0, 10))
def test_it_agrees_with_a_plain_table(made: list[tuple[str, float | None]], now: float) -> None:
    """However keys are set, moved and discarded, what is due is what a dictionary would say."""
    deadlines, table = Deadlines[str](), dict[str, float]()
    for key, when in made:
        if when is None:
            deadlines.discard(key)
            table.pop(key, None)
        else:
            deadlines.set(key, when)
            table[key] = when

    assert deadlines.next() == min(table.values(), default=None)
    assert len(deadlines) == len(table)
    assert sorted(deadlines.pop_due(now)) == sorted(key for key in table if table[key] <= now)
    assert deadlines.next() == min((t for t in table.values() if t > now), default=None)


def test_deadlines_that_were_met_long_before_leave_nothing_behind() -> None:
    """I14: a lease of a day that ends within a second must not be remembered for a day."""
    deadlines = Deadlines[int]()
    deadlines.set(-1, 0.0)
    for number in range(10_000):
        deadlines.set(number, 86_400.0)
        deadlines.set(number, 600.0)
        deadlines.discard(number)

    assert len(deadlines._heap) <= 2 * SLACK
    assert list(deadlines.pop_due(99_999.0)) == [-1]
