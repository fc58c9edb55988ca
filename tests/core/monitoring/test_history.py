"""The history is bounded, and tells rates from counters."""

import pytest

from paintmq.monitoring.history import SAMPLES_KEPT, History, Sample
from paintmq.statistics import BrokerStatistics, QueueStatistics


def sample(at: float, *, a: int = 0, b: int = 0) -> Sample:
    queues = {
        "a": QueueStatistics(name="a", port=0, succeeded=a),
        "b": QueueStatistics(name="b", port=0, succeeded=b),
    }
    return Sample(at, BrokerStatistics(queues=queues))


def history(*samples: Sample) -> History:
    made = History()
    for each in samples:
        made.add(each)
    return made


def test_the_oldest_sample_makes_room_for_the_newest() -> None:
    made = history(*(sample(float(at)) for at in range(SAMPLES_KEPT + 5)))

    assert len(made) == SAMPLES_KEPT
    assert next(iter(made)).at == 5.0
    assert made.latest is not None
    assert made.latest.at == SAMPLES_KEPT + 4


def test_samples_since_a_time_are_in_order() -> None:
    made = history(sample(1), sample(2), sample(3))

    assert [each.at for each in made.since(2)] == [2, 3]


def test_a_rate_is_growth_a_second_over_the_last_while() -> None:
    made = history(sample(0, a=0), sample(60, a=600), sample(120, a=660, b=60))

    assert made.rate("succeeded", over=60) == pytest.approx(2.0)
    assert made.rate("succeeded", over=1000) == pytest.approx(6.0)
    assert made.rate("succeeded", over=60, queue="a") == pytest.approx(1.0)
    assert made.rate("succeeded", over=60, queue="nowhere") == 0.0


def test_a_time_shorter_than_the_interval_takes_the_last_two_samples() -> None:
    made = history(sample(0, a=0), sample(60, a=60))

    assert made.rate("succeeded", over=1) == pytest.approx(1.0)


def test_a_counter_that_went_back_started_anew() -> None:
    made = history(sample(0, a=1000), sample(10, a=5), sample(20, a=15))

    assert made.rate("succeeded", over=100) == pytest.approx(0.75)


@pytest.mark.parametrize("samples", [[], [sample(1, a=5)], [sample(1), sample(1, a=3)]])
def test_without_two_moments_there_is_no_rate(samples: list[Sample]) -> None:
    assert history(*samples).rate("succeeded", over=60) == 0.0
