"""Estimates: declared at first, measured ever after."""

import pytest

from paintmq.broker.scheduling.estimates import FALLBACK_SECONDS, LEAST_SECONDS, Estimates, run_key
from paintmq.model import Job, ModelSpec
from paintmq.task import PayloadInfo


def make_job(pixels: int) -> Job:
    image = PayloadInfo(name="image", size=1, digest="", kind="file", width=pixels, height=1)
    return Job(device="cuda", options=None, inputs=(image,))


def test_a_run_is_estimated_as_declared_until_it_was_measured() -> None:
    estimates = Estimates()
    small, large = run_key("m", make_job(1_000_000), 1.0), run_key("m", make_job(8_000_000), 8.0)
    assert estimates.run_seconds(small, "gpu") == pytest.approx(1.0)

    estimates.ran(small, "gpu", 2.0)

    assert estimates.run_seconds(small, "gpu") == pytest.approx(2.0)
    assert estimates.run_seconds(large, "gpu") == pytest.approx(16.0), "borrows the ratio"


def test_devices_of_another_name_are_measured_apart() -> None:
    spec = ModelSpec(name="m", implementation="x:Y", load_seconds=9.0)
    estimates, key = Estimates(), run_key("m", make_job(1), 1.0)
    for _ in range(30):
        estimates.ran(key, "fast", 0.1)
        estimates.ran(key, "slow", 5.0)
        estimates.loaded("m", "cuda", "fast", 1.0)

    assert estimates.run_seconds(key, "fast") == pytest.approx(0.1, rel=0.01)
    assert estimates.run_seconds(key, "slow") == pytest.approx(5.0, rel=0.01)
    assert estimates.load_seconds(spec, "cuda", "fast") == pytest.approx(1.0)
    assert estimates.load_seconds(spec, "cpu", "") == 9.0


@pytest.mark.parametrize(
    ("seconds", "declared"),
    [(0.0, FALLBACK_SECONDS), (5e-324, LEAST_SECONDS), (1e9, 1e9)],
)
def test_what_is_learned_is_finite_whatever_was_declared(seconds: float, declared: float) -> None:
    estimates, key = Estimates(), run_key("m", make_job(1), seconds)
    for _ in range(3):
        estimates.ran(key, "gpu", 1e9)

    assert key.declared == declared
    assert estimates.run_seconds(key, "gpu") == pytest.approx(1e9)


def test_arrival_rates_fade() -> None:
    estimates = Estimates()
    for second in range(600):
        estimates.arrived("m", now=float(second))

    assert estimates.arrival_rate("m", now=600.0) == pytest.approx(1.0, rel=0.05)
    assert estimates.arrival_rate("m", now=720.0) < 0.2


def test_the_rate_of_a_model_that_is_asked_for_every_five_minutes_is_known_too() -> None:
    estimates = Estimates()
    for number in range(40):
        estimates.arrived("m", now=300.0 * number)

    assert estimates.arrival_rate("m", now=12_000.0) == pytest.approx(1 / 300, rel=0.1)
    assert estimates.arrival_rate("other", now=12_000.0) == 0.0
