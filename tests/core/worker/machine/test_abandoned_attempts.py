"""What a worker does when the broker takes an attempt back."""

import pytest
from tests.harness.worker_bench import Bench, abandon, key_of, returned

from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptReturned,
    AttemptSucceeded,
)
from paintmq.worker.channel.messages import (
    CancelItem,
    HostLoaded,
    HostReady,
)
from paintmq.worker.machine.attempts import MOST_ABANDONED
from paintmq.worker.machine.commands import (
    KillHost,
    ReleaseInputs,
    ReleaseOutputs,
    SendToHost,
    StartHost,
)


def test_a_waiting_attempt_is_given_back_at_once(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2, 3, model="beta")
    warm.assign(4, model="beta")

    assert warm.said(warm.hear(abandon(2))) == [returned(2)]
    assert warm.said(warm.hear(abandon(4))) == [returned(4)]
    assert warm.machine.held == (key_of(1), key_of(3))
    warm.end(1, batch=2)
    assert warm.runs(warm.host(HostLoaded(model="beta", seconds=1.0, memory_mb=1))) == [
        [key_of(3)[0]]
    ]


def test_an_attempt_whose_model_loads_is_given_back_and_the_model_stays_warm(bench: Bench) -> None:
    bench.assign(1)
    bench.host(HostReady())
    assert bench.said(bench.hear(abandon(1))) == [returned(1)]

    commands = bench.host(HostLoaded(model="alpha", seconds=1.0, memory_mb=1))

    assert bench.runs(commands) == []


def test_a_running_attempt_is_asked_first_and_its_late_result_dropped(warm: Bench) -> None:
    warm.assign(1)
    assert warm.hear(abandon(1)) == [SendToHost(CancelItem(*key_of(1)))]

    commands = warm.end(1, batch=2)

    assert warm.said(commands) == [returned(1)]
    assert ReleaseOutputs(*key_of(1)) in commands
    assert warm.machine.next_deadline() is not None


def test_an_attempt_that_heeds_the_cancel_is_given_back(warm: Bench) -> None:
    warm.assign(1)
    warm.hear(abandon(1))

    assert warm.said(warm.end(1, batch=2, cancelled=True)) == [returned(1)]


def test_an_attempt_that_does_not_heed_is_ended_with_its_host_after_the_grace(
    warm: Bench,
) -> None:
    warm.assign(1)
    warm.assign(2)
    warm.hear(abandon(1, grace=5.0))
    warm.hear(abandon(1, grace=3.0))
    commands = warm.at(warm.now + 3.0)

    assert warm.said_of(AttemptReturned, commands) == [returned(1)]
    assert warm.said_of(AttemptCrashed) == []
    assert KillHost("was killed: its task was cancelled") in commands
    assert StartHost() in warm.exit("was killed by SIGKILL")
    assert warm.runs(warm.ready("alpha")) == [[key_of(2)[0]]]


def test_a_neighbour_in_the_batch_keeps_the_host_alive(warm: Bench) -> None:
    warm.assign(1, 2)
    warm.hear(abandon(1))
    commands = warm.at(warm.now + 5.0)
    assert warm.said_of(AttemptReturned, commands) == [returned(1)]
    assert not [c for c in commands if isinstance(c, KillHost)]

    ending = warm.end(1, 2, batch=2)

    assert ReleaseOutputs(*key_of(1)) in ending
    assert [message.task_id for message in warm.said_of(AttemptSucceeded, ending)] == [key_of(2)[0]]


def test_an_abandoned_attempt_that_had_been_sent_ahead_is_not_run_by_the_next_host(
    warm: Bench,
) -> None:
    warm.assign(1)
    warm.begin(2)
    warm.assign(2)
    warm.hear(abandon(2))
    commands = warm.exit()
    assert warm.said_of(AttemptReturned, commands) == [returned(2)]
    assert StartHost() not in commands

    warm.assign(3)
    warm.ready("alpha")
    warm.begin(4)
    warm.assign(4)
    warm.hear(abandon(4, grace=0.0))
    warm.at(warm.now)
    commands = warm.exit()

    assert warm.said_of(AttemptReturned, commands) == []
    assert warm.machine.held == ()


@pytest.mark.parametrize("begun", [True, False])
def test_an_abandoned_attempt_that_dies_with_its_host_is_not_a_crash(
    warm: Bench, *, begun: bool
) -> None:
    warm.assign(1)
    if begun:
        warm.begin(2)
    warm.hear(abandon(1))

    assert warm.said_of(AttemptReturned, warm.exit()) == [returned(1)]


def test_abandoning_what_is_unknown_or_has_ended(warm: Bench) -> None:
    assert warm.said(warm.hear(abandon(1))) == [returned(1)]
    warm.assign(2)
    warm.end(2, batch=2)

    assert warm.hear(abandon(2)) == []


def test_an_order_to_stop_that_overtakes_its_assignment_is_heeded(warm: Bench) -> None:
    """A large assignment travels in bursts, beside which everything else passes."""
    assert warm.said(warm.hear(abandon(2))) == [returned(2)]

    commands = warm.assign(2)

    assert commands == [ReleaseInputs(*key_of(2))]
    assert warm.runs() == []
    warm.assign(3)
    assert len(warm.runs()) == 1


def test_only_so_many_orders_to_stop_are_remembered(warm: Bench) -> None:
    for number in range(100, 101 + MOST_ABANDONED):
        warm.hear(abandon(number))

    assert warm.assign(101) == [ReleaseInputs(*key_of(101))]
    warm.assign(100)
    assert len(warm.runs()) == 1
