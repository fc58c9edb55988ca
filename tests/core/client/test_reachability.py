"""Whether the broker answers, in words."""

import logging

import pytest

from paintmq.client.reachability import Reachability, none_answers


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_told_once_it_is_worth_a_word() -> None:
    clock = Clock()
    broker = Reachability("tcp://far:5550", clock)
    assert broker.trouble == ""  # nothing was tried yet

    broker.connecting()
    clock.now += 0.5
    assert broker.trouble == ""
    clock.now += 60.0
    broker.connecting()  # again: the silence goes on

    assert broker.trouble == "no broker has answered at tcp://far:5550 for 60 s"
    broker.answered()
    assert broker.trouble == ""


def test_a_broker_that_falls_silent_is_complained_of_once_and_welcomed_back_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Reachability("tcp://far:5550")
    with caplog.at_level(logging.WARNING):
        broker.answered()
        for _ in range(3):
            broker.gave_up()
        broker.answered()
        broker.answered()

    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "broker tcp://far:5550 does not answer",
        "broker tcp://far:5550 answers again",
    ]


def test_waiting_ends_with_the_first_answer() -> None:
    broker = Reachability("tcp://far:5550")
    assert not broker.wait(0.0)

    broker.answered()

    assert broker.wait(0.0)


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("tcp://no-such-machine.invalid:5", ": no machine is known by the name no-such-machine"),
        ("tcp://127.0.0.1:1", ": Connection refused"),
        ("inproc://elsewhere", "; what listens there does not answer"),
    ],
)
def test_a_time_out_says_what_can_be_known_of_the_address(endpoint: str, reason: str) -> None:
    assert none_answers(endpoint, 2.0).startswith(
        f"no broker answers at {endpoint} within 2.0 s{reason}"
    )
