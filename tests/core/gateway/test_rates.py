"""How often a token may bring work."""

import pytest

from paintmq.gateway.rates import Rates
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.http_api import Caller

SLOW = Caller(name="slow", owner="0" * 12, rate=0.1)
QUICK = Caller(name="quick", owner="1" * 12, rate=2.0)


def test_a_burst_is_fine_and_a_flood_is_told_when_to_come_again() -> None:
    now = [100.0]
    rates = Rates(lambda: now[0])
    for _ in range(10):
        rates.spend(QUICK)
    with pytest.raises(RefusedRequestError) as caught:
        rates.spend(QUICK)
    assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "1")

    now[0] += 0.5
    rates.spend(QUICK)
    with pytest.raises(RefusedRequestError):
        rates.spend(QUICK)


def test_one_callers_flood_costs_another_nothing() -> None:
    rates = Rates(lambda: 0.0)
    rates.spend(SLOW)
    with pytest.raises(RefusedRequestError) as caught:
        rates.spend(SLOW)
    assert caught.value.headers["retry-after"] == "10"

    rates.spend(QUICK)
    for _ in range(1000):
        rates.spend(Caller(name="free", owner="2" * 12))
