"""Backoff."""

import random

import hypothesis.strategies as st
from hypothesis import given

from paintmq.broker.machine.retry import RetryPolicy


def test_delays_double_up_to_the_most() -> None:
    policy = RetryPolicy(first=1.0, most=5.0, jitter=0.0)

    assert [policy.delay(n, random.Random(0)) for n in (1, 2, 3, 4, 9)] == [1, 2, 4, 5, 5]


@given(st.integers(1, 10_000), st.integers())
def test_jitter_stays_within_its_share(tries: int, seed: int) -> None:
    exact = RetryPolicy(jitter=0.0).delay(tries, random.Random(seed))

    delay = RetryPolicy(jitter=0.2).delay(tries, random.Random(seed))

    assert 0.8 * exact <= delay <= 1.2 * exact


def test_tasks_that_failed_together_do_not_come_back_together() -> None:
    rng = random.Random(0)

    assert len({RetryPolicy().delay(3, rng) for _ in range(10)}) == 10
