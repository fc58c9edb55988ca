"""Sketches of durations: quantiles within their bound, and counts that add up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paintmq.broker.accounting.sketch import GROWTH, LEAST, MOST, Sketch
from paintmq.statistics import BOUNDS, Durations

durations = st.lists(st.floats(LEAST, MOST, exclude_min=True), min_size=1, max_size=60)
SHARES = (0.01, 0.5, 0.9, 0.99, 1.0)


def sketch_of(values: list[float]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(durations)
def test_a_quantile_is_within_two_and_a_half_percent_of_the_true_one(values: list[float]) -> None:
    sketch = sketch_of(values)

    for share in SHARES:
        true = sorted(values)[math.ceil(share * len(values)) - 1]
        assert sketch.quantile(share) == pytest.approx(true, rel=0.026)


@given(durations, durations)
def test_merging_is_counting_together(one: list[float], other: list[float]) -> None:
    together = sketch_of(one)
    together.merge(sketch_of(other))

    assert together.buckets == sketch_of(one + other).buckets
    assert together.count == len(one) + len(other)
    assert together.total == pytest.approx(sum(one) + sum(other))
    assert together.longest == max(one + other)


@given(durations, durations)
def test_what_was_counted_since_is_what_was_added(one: list[float], other: list[float]) -> None:
    sketch = sketch_of(one)
    earlier = sketch.copy()
    for value in other:
        sketch.add(value)
    grown = sketch.since(earlier)

    assert grown.buckets == sketch_of(other).buckets
    assert grown.total == pytest.approx(sum(other), rel=1e-6, abs=1e-6 * sum(one))
    assert max(other) <= grown.longest * 1.0001
    assert grown.longest <= max(other) * GROWTH * 1.0001


@given(durations)
def test_counts_up_to_a_bound_are_off_by_one_bucket_at_most(values: list[float]) -> None:
    counts = sketch_of(values).at_most(BOUNDS)

    for bound, count in zip(BOUNDS, counts, strict=True):
        assert sum(value <= bound / GROWTH for value in values) <= count
        assert count <= sum(value <= bound * GROWTH * 1.0001 for value in values)


@pytest.mark.parametrize(
    ("odd", "total", "median"), [(-5.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1e300, 1e300, MOST)]
)
def test_what_no_bucket_holds_goes_into_the_nearest(
    odd: float, total: float, median: float
) -> None:
    sketch = sketch_of([odd])

    assert (sketch.count, sketch.total) == (1, total)
    assert sketch.quantile(0.5) == pytest.approx(median, rel=0.06)


def test_nothing_counted_is_all_zero() -> None:
    assert Sketch().summary() == Durations()
    assert Sketch().quantile(0.5) == 0.0
    assert sketch_of([1.0]).since(sketch_of([1.0])) == Sketch()
    assert Durations().mean == 0.0


def test_a_summary_has_the_mean_and_counts_up_to_each_bound() -> None:
    summary = sketch_of([0.2, 0.4, 3.0]).summary()

    assert summary.mean == pytest.approx(1.2)
    assert dict(zip(BOUNDS, summary.up_to, strict=True))[0.5] == 2
    assert (summary.count, summary.longest, summary.up_to[-1]) == (3, 3.0, 3)
