"""The trace of a task: passed on to who understands it, and no part of what the task is."""

import pytest
from attrs import evolve
from tests.harness.broker_harness import ALICE, BOB, W1, BrokerHarness, ready

from paintmq.testing.example_tasks import make_request
from paintmq.wire.messages import (
    OBSERVING_VERSION,
    Accepted,
    ClientHello,
    Rejected,
    Submit,
    Welcome,
)

TRACE = f"00-{'1' * 32}-{'2' * 16}-01"


@pytest.mark.parametrize(
    ("version", "told"), [(OBSERVING_VERSION, TRACE), (OBSERVING_VERSION - 1, "")]
)
def test_a_worker_is_told_the_trace_if_it_understands_it(version: int, told: str) -> None:
    broker = BrokerHarness()
    broker.greet()
    broker.join(W1, newest=version)

    request = broker.submit(evolve(make_request(), trace=TRACE))

    assert [item.task for item in broker.assigned()] == [evolve(request, trace=told)]


def test_a_task_that_is_submitted_again_with_another_trace_is_the_same() -> None:
    broker = ready()
    request = broker.submit(evolve(make_request(), trace=TRACE))

    broker.receive(ALICE, Submit(evolve(request, trace="")))

    assert broker.heard(ALICE, Rejected) == []
    assert len(broker.heard(ALICE, Accepted)) == 2


def test_clients_are_told_that_it_is_understood_if_they_understand_that() -> None:
    broker = BrokerHarness()
    broker.receive(ALICE, ClientHello(newest=OBSERVING_VERSION))
    broker.receive(BOB, ClientHello(newest=OBSERVING_VERSION - 1))

    assert [each.newest >= OBSERVING_VERSION for each in broker.heard(ALICE, Welcome)] == [True]
    assert [each.newest >= OBSERVING_VERSION for each in broker.heard(BOB, Welcome)] == [False]


def test_a_trace_that_is_far_too_long_is_refused() -> None:
    broker = ready()

    broker.submit(evolve(make_request(), trace="0" * 5000))

    assert broker.heard(ALICE, Rejected)[0].code == "invalid_task"
