"""What a worker does when its model host dies, leaves, or does neither."""

from tests.harness.worker_bench import Bench, key_of, returned

from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptFailed,
    AttemptStarted,
    BrokerHeartbeat,
    Drain,
    Draining,
    ModelUnloaded,
)
from paintmq.worker.channel.messages import (
    HostBeat,
    HostLeaving,
    HostReady,
)
from paintmq.worker.machine.batches import TELL_AFTER
from paintmq.worker.machine.commands import (
    KillHost,
    Reconnect,
    ReleaseOutputs,
    StartHost,
)


def test_a_crash_is_reported_alone_if_nothing_shared_the_batch(warm: Bench) -> None:
    warm.assign(1)
    warm.begin(2)
    warm.assign(2)
    commands = warm.exit("was killed by SIGSEGV")

    (crashed,) = warm.said_of(AttemptCrashed, commands)
    assert (crashed.task_id, crashed.alone, crashed.timed_out) == (key_of(1)[0], True, False)
    assert crashed.detail == "was killed by SIGSEGV"
    assert StartHost() in commands
    assert warm.runs(warm.ready("alpha")) == [[key_of(2)[0]]]


def test_what_was_given_to_a_host_that_never_began_it_is_run_by_the_next(warm: Bench) -> None:
    """I9: between a host's death and its notice it may be given a task that is not to blame."""
    warm.assign(1)
    warm.assign(2)
    commands = warm.exit("was killed by SIGKILL")

    assert warm.said_of(AttemptCrashed, commands) == []
    assert warm.machine.held == (key_of(1), key_of(2))
    assert warm.runs(warm.ready("alpha")) == [[key_of(1)[0]], [key_of(2)[0]]]
    warm.begin(2)
    (started,) = warm.said_of(AttemptStarted, warm.at(warm.now + TELL_AFTER))
    assert started.task_id == key_of(1)[0]


def test_a_start_that_was_not_told_is_forgotten_with_the_host(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2)
    warm.begin(2)
    warm.begin(3)
    warm.exit("was killed by SIGKILL")
    warm.ready("alpha")

    assert warm.said_of(AttemptStarted, warm.at(warm.now + TELL_AFTER)) == []


def test_the_batch_that_the_host_had_marked_is_to_blame_for_its_death(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2)

    (crashed,) = warm.said_of(AttemptCrashed, warm.exit(marked=2))

    assert (crashed.task_id, crashed.alone) == (key_of(1)[0], True)
    assert warm.machine.held == (key_of(2),)


def test_the_mark_of_another_batch_blames_none(warm: Bench) -> None:
    warm.assign(1)

    assert warm.said_of(AttemptCrashed, warm.exit(marked=1)) == []
    assert warm.machine.held == (key_of(1),)


def test_what_no_host_lives_to_begin_counts_as_a_crash_the_third_time(warm: Bench) -> None:
    """I8: a payload may kill whoever reads it; without a limit it would do so for ever."""
    warm.assign(1)
    warm.assign(2)
    for wait in (0.0, 1.0):
        assert warm.said_of(AttemptCrashed, warm.exit()) == []
        warm.at(warm.now + wait)
        assert warm.commands[-1] == StartHost()
        warm.ready("alpha")
    (crashed,) = warm.said_of(AttemptCrashed, warm.exit())

    assert (crashed.task_id, crashed.alone) == (key_of(1)[0], True)
    assert warm.machine.held == (key_of(2),)


def test_what_had_not_begun_by_its_limit_is_given_to_another_host(warm: Bench) -> None:
    """A host that is stuck before it begins is replaced, and the task is not to blame."""
    warm.assign(1, run_limit=10.0)
    warm.now += 9.9
    warm.host(HostBeat(memory_mb=1))
    commands = warm.at(warm.now + 0.1)

    assert KillHost("was killed after 10 s run limit") in commands
    assert warm.said_of(AttemptCrashed, commands) == []
    assert warm.machine.held == (key_of(1),)


def test_a_crash_of_a_batch_blames_nobody_alone(warm: Bench) -> None:
    warm.assign(1, 2)
    warm.begin(2)
    warm.end(1, batch=2)

    (crashed,) = warm.said_of(AttemptCrashed, warm.exit())

    assert (crashed.task_id, crashed.alone) == (key_of(2)[0], False)


def test_a_crash_while_loading_fails_the_tasks_that_need_the_model_and_no_other(
    bench: Bench,
) -> None:
    bench.assign(1)
    bench.assign(2, model="beta")
    bench.host(HostReady())
    commands = bench.exit()

    (failed,) = bench.said_of(AttemptFailed, commands)
    assert (failed.task_id, failed.error.code) == (key_of(1)[0], "load_failed")
    assert bench.said_of(ModelUnloaded, commands)[0].error == failed.error.message
    assert StartHost() in commands
    assert bench.machine.held == (key_of(2),)


def test_a_host_that_keeps_dying_is_replaced_ever_more_slowly(bench: Bench) -> None:
    waits = []
    for number in range(1, 9):
        bench.assign(number)
        before = bench.now
        while StartHost() not in bench.commands:
            deadline = bench.machine.next_deadline()
            assert deadline is not None
            bench.now = deadline
            bench.hear(BrokerHeartbeat())
            bench.at(deadline)
        waits.append(bench.now - before)
        bench.host(HostReady())
        bench.exit("exited with status 1")
        bench.commands.clear()

    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]


def test_work_done_forgives_earlier_deaths(warm: Bench) -> None:
    for number in range(1, 5):
        warm.assign(number)
        warm.begin(2 * number)
        warm.assign(number + 10)

        assert StartHost() in warm.exit()

        warm.ready("alpha")
        warm.end(number + 10, batch=2 * number + 1)


def test_a_host_that_leaves_by_itself_blames_nobody_and_is_not_read_further(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2)
    warm.end(1, batch=2, error="device_error")
    commands = warm.host(HostLeaving("the device failed"))
    assert KillHost("left: the device failed") in commands
    assert warm.said_of(AttemptCrashed) == []

    late = warm.end(2, batch=3)

    assert late == [ReleaseOutputs(*key_of(2))]
    assert warm.host(HostBeat(memory_mb=1)) == []
    warm.exit("exited with status 0")
    assert warm.runs(warm.ready("alpha")) == [[key_of(2)[0]]]


def test_what_ended_in_a_batch_nobody_knows_is_released(warm: Bench) -> None:
    assert warm.end(1, batch=44) == [ReleaseOutputs(*key_of(1))]


def test_crashes_found_in_the_journal_are_reported_until_recorded(bench: Bench) -> None:
    commands = bench.did(bench.machine.crashes_found([key_of(1)], alone=True, now=bench.now))
    (crashed,) = bench.said_of(AttemptCrashed, commands)
    assert (crashed.alone, crashed.detail) == (True, "its node died while it ran")

    assert crashed in bench.said(bench.connect())


def test_a_host_that_does_not_end_though_it_was_killed_keeps_no_task_waiting(warm: Bench) -> None:
    """As when a driver or a network file system holds on to it."""
    warm.assign(1, run_limit=10.0)
    warm.begin(2)
    warm.assign(2)
    warm.now += 9.9
    warm.host(HostBeat(memory_mb=1))
    assert KillHost("was killed after 10 s run limit") in warm.at(warm.now + 0.1)
    for _ in range(3):
        warm.hear(BrokerHeartbeat())
        assert warm.said_of(Draining) == []
        warm.now += 9.9
        warm.at(warm.now)
    warm.hear(BrokerHeartbeat())

    commands = warm.at(warm.now + 0.4)

    trouble = Draining("its model host was killed and does not end")
    assert warm.said(commands)[-2:] == [trouble, returned(2, cancelled=False)]
    assert warm.said(warm.assign(3)) == [trouble, returned(3, cancelled=False)]
    assert trouble in warm.said(warm.connect())
    assert Reconnect("its model host has ended at last") in warm.exit("was killed by SIGKILL")
    assert warm.said_of(Draining, warm.connect()) == []
    assert StartHost() in warm.assign(4)


def test_a_host_that_does_not_end_is_not_waited_for_by_a_worker_that_leaves(warm: Bench) -> None:
    warm.assign(1, run_limit=10.0)
    warm.begin(2)
    warm.assign(2)
    warm.at(warm.now + 10.0)
    warm.at(warm.now + 30.0)
    warm.hear(Drain(5.0))

    assert warm.exit("was killed by SIGKILL") == []
