"""Having one worker leave in order."""

from tests.harness.operated_broker import OperatedBroker

from paintmq.wire.messages import Drain


def test_the_worker_is_told_and_given_nothing_more(operated: OperatedBroker) -> None:
    worker = operated.start_worker("node/cpu-0")

    said = operated.command("drain", "node/cpu-0", "--grace", "5")

    assert said == (0, "node/cpu-0: takes nothing more, and leaves within 5 s\n", "")
    assert worker.hear(Drain) == Drain(grace=5.0)
    assert "draining" in operated.command("status")[1]


def test_a_worker_that_is_not_there_is_refused_naming_those_that_are(
    operated: OperatedBroker,
) -> None:
    operated.start_worker("node/cpu-0")

    status, _, errors = operated.command("drain", "node/cpu-9")

    assert status == 2
    assert "no worker or node 'node/cpu-9'; connected: node/cpu-0" in errors


def test_a_cordoned_node_is_shown_as_such_until_it_is_uncordoned(operated: OperatedBroker) -> None:
    operated.start_worker("node/cpu-0")

    assert operated.command("cordon", "node")[1] == "given no more tasks: node/cpu-0\n"
    assert "cordoned" in operated.command("status")[1]
    assert operated.command("uncordon", "node")[1] == "given tasks again: node/cpu-0\n"
    assert "cordoned" not in operated.command("status")[1]
    assert operated.command("uncordon", "node")[0] == 2
