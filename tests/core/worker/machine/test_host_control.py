"""What a worker does with its model host: feed it, watch it, replace it when it dies."""

import pytest
from tests.harness.worker_bench import OUTPUT, Bench, key_of, returned

from paintmq.task import PayloadInfo, TaskError
from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptFailed,
    AttemptProgressed,
    AttemptRecorded,
    AttemptReturned,
    AttemptStarted,
    AttemptSucceeded,
    BrokerHeartbeat,
    Drain,
    Draining,
    ModelLoaded,
    ModelUnloaded,
)
from paintmq.worker.channel.messages import (
    BatchProgressed,
    BatchSplit,
    HostBeat,
    HostLoaded,
    HostReady,
    HostUnloaded,
    Load,
    Unload,
)
from paintmq.worker.machine.batches import TELL_AFTER, HandedOver
from paintmq.worker.machine.commands import (
    KillHost,
    Leave,
    Reconnect,
    ReleaseInputs,
    ReleaseOutputs,
    StartHost,
)
from paintmq.worker.machine.host_life import with_telling_line


def test_the_host_is_started_by_the_first_assignment_and_the_model_loaded_before_it_runs(
    bench: Bench,
) -> None:
    assert StartHost() in bench.assign(1)

    loading = bench.host(HostReady())
    assert bench.orders(loading) == [Load("alpha")]
    assert bench.said(loading) == [
        AttemptStarted(task_id=key_of(1)[0], fence=key_of(1)[1], loading=True)
    ]

    loaded = bench.host(HostLoaded(model="alpha", seconds=2.0, memory_mb=120))
    assert bench.runs(loaded) == [[key_of(1)[0]]]
    assert bench.said(loaded) == [ModelLoaded(model="alpha", seconds=2.0, memory_mb=120)]
    assert bench.begin(1) == bench.begin(9) == []
    assert bench.at(bench.now + TELL_AFTER / 2) == []
    assert bench.said(bench.until_deadline()) == [
        AttemptStarted(task_id=key_of(1)[0], fence=key_of(1)[1])
    ]
    assert bench.said_of(AttemptStarted, bench.at(bench.now + 1)) == []


def test_the_broker_is_not_told_that_an_attempt_has_begun_which_ends_at_once(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2)
    warm.begin(2)

    (ending,) = warm.said(warm.end(1, batch=2))
    assert isinstance(ending, AttemptSucceeded)
    warm.begin(3)
    (started,) = warm.said_of(AttemptStarted, warm.at(warm.now + TELL_AFTER))
    assert started.task_id == key_of(2)[0]


def test_the_broker_is_told_of_a_start_that_the_host_has_marked_and_of_no_other(
    warm: Bench,
) -> None:
    warm.assign(1)
    assert warm.said(warm.until_deadline(marked=1)) == []
    looked_again = warm.now
    assert warm.said(warm.until_deadline()) == []
    assert warm.now > looked_again + TELL_AFTER

    (started,) = warm.said_of(AttemptStarted, warm.until_deadline(marked=2))
    assert started.task_id == key_of(1)[0]
    assert warm.said_of(AttemptStarted, warm.at(warm.now + 5.0, marked=2)) == []


def test_a_host_that_marks_nothing_is_looked_at_less_and_less_often(warm: Bench) -> None:
    """It may be stopped, for hours."""
    warm.assign(1, run_limit=10_000.0)
    looks = 0
    while warm.now < 1_000.0:
        warm.until_deadline()
        warm.host(HostBeat(memory_mb=1))
        looks += 1
        if warm.now > 15.0:
            break
    assert looks <= 15


def test_progress_is_told_after_the_start(warm: Bench) -> None:
    warm.assign(1)
    warm.begin(2)

    progress = warm.host(BatchProgressed(batch=2, step=1, total=4))
    assert [type(each) for each in warm.said(progress)] == [AttemptStarted, AttemptProgressed]
    again = warm.host(BatchProgressed(batch=2, step=2, total=4))
    assert [type(each) for each in warm.said(again)] == [AttemptProgressed]
    assert warm.said_of(AttemptStarted, warm.at(warm.now + TELL_AFTER)) == []


def test_a_start_that_progress_has_told_is_not_told_again_when_the_host_says_so(
    warm: Bench,
) -> None:
    warm.assign(1)
    assert warm.said_of(AttemptStarted, warm.host(BatchProgressed(batch=2, step=1, total=4)))

    assert warm.begin(2) == []
    assert warm.said_of(AttemptStarted, warm.at(warm.now + TELL_AFTER)) == []


def test_a_second_batch_is_sent_ahead_and_has_started_when_the_host_begins_it(warm: Bench) -> None:
    warm.assign(1)
    warm.begin(2)
    ahead = warm.assign(2)
    third = warm.assign(3)
    assert warm.runs(ahead) == [[key_of(2)[0]]]
    assert warm.said_of(AttemptStarted, ahead) == []
    assert warm.runs(third) == []
    assert warm.machine.handed_over == (
        HandedOver(2, (key_of(1),), 1),
        HandedOver(3, (key_of(2),), 1),
    )

    commands = warm.end(1, batch=2)

    assert warm.runs(commands) == [[key_of(3)[0]]]
    assert warm.machine.held == (key_of(2), key_of(3))
    warm.begin(3)
    (started,) = warm.said_of(AttemptStarted, warm.at(warm.now + TELL_AFTER))
    assert started.task_id == key_of(2)[0]


def test_a_batch_for_another_model_waits_until_the_host_is_free(warm: Bench) -> None:
    warm.assign(1)
    assert warm.orders(warm.assign(2, model="beta")) == []

    assert warm.orders(warm.end(1, batch=2)) == [Load("beta")]


def test_room_is_made_before_loading_least_recently_used_first(warm: Bench) -> None:
    warm.assign(1, model="beta")
    warm.host(HostLoaded(model="beta", seconds=1.0, memory_mb=100))
    warm.end(1, batch=2)
    warm.assign(2)
    warm.end(2, batch=3)

    commands = warm.assign(3, model="gamma")

    assert warm.orders(commands) == [Unload("beta"), Load("gamma")]
    assert warm.said(commands)[0] == ModelUnloaded(model="beta")
    assert warm.host(HostUnloaded("beta")) == []


def test_a_success_is_repeated_until_it_is_recorded_and_its_outputs_kept_so_long(
    warm: Bench,
) -> None:
    warm.assign(1)
    commands = warm.end(1, batch=2)
    assert ReleaseInputs(*key_of(1)) in commands
    assert warm.said(commands) == [
        AttemptSucceeded(task_id=key_of(1)[0], fence=key_of(1)[1], outputs=(OUTPUT,), ran=0.5)
    ]
    warm.commands.clear()
    for _ in range(60):
        warm.now += 1.0
        warm.hear(BrokerHeartbeat())
        warm.at(warm.now)
    assert len(warm.said_of(AttemptSucceeded)) == 2  # after 12 s and 24 s more

    assert warm.hear(AttemptRecorded(*key_of(1))) == [ReleaseOutputs(*key_of(1))]
    assert warm.hear(AttemptRecorded(*key_of(1))) == []
    assert warm.machine.next_deadline() is not None


def test_a_failure_is_reported_with_its_error(warm: Bench) -> None:
    warm.assign(1)
    commands = warm.end(1, batch=2, error="model_error")

    (failed,) = warm.said_of(AttemptFailed, commands)
    assert (failed.error.code, failed.ran) == ("model_error", 0.5)


def test_a_batch_ends_when_each_of_its_attempts_has(warm: Bench) -> None:
    warm.assign(1, 2)
    warm.end(1, batch=2)
    assert warm.machine.handed_over == (HandedOver(2, (key_of(2),), 2),)

    warm.end(2, batch=2)

    assert not warm.machine.handed_over


def test_duplicates_of_held_and_of_ended_assignments_change_nothing(warm: Bench) -> None:
    warm.assign(1)
    assert warm.assign(1) == []
    warm.end(1, batch=2)
    assert warm.assign(1) == [ReleaseInputs(*key_of(1))]
    warm.hear(AttemptRecorded(*key_of(1)))
    assert warm.assign(1) == [ReleaseInputs(*key_of(1))]


def test_an_assignment_for_a_model_it_cannot_run_fails_with_the_reason(bench: Bench) -> None:
    (failed,) = bench.said_of(AttemptFailed, bench.assign(1, model="delta"))

    assert failed.error == TaskError(
        code="model_unavailable",
        message="worker node/cpu-0 cannot run model 'delta': it needs torch",
        retryable=True,
    )


def test_progress_is_passed_on_for_each_attempt_the_preview_for_the_first(warm: Bench) -> None:
    preview = PayloadInfo(name="preview", size=3, digest="", kind="array")
    warm.assign(1, 2)

    commands = warm.host(BatchProgressed(batch=2, step=1, total=4, preview=(preview,)))

    first, second = warm.said_of(AttemptProgressed, commands)
    assert (first.step, first.total, first.preview) == (1, 4, (preview,))
    assert (second.task_id, second.preview) == (key_of(2)[0], ())
    assert warm.host(BatchProgressed(batch=9, step=1, total=4)) == []


# ---- time limits -----------------------------------------------------------------------------


def test_an_attempt_over_its_run_limit_is_killed_and_reported_as_timed_out(warm: Bench) -> None:
    warm.assign(1, run_limit=10.0)
    warm.begin(2)
    warm.at(warm.now + 9.9)
    warm.host(HostBeat(memory_mb=1))
    commands = warm.at(warm.now + 0.1)

    assert KillHost("was killed after 10 s run limit") in commands
    (crashed,) = warm.said_of(AttemptCrashed, commands)
    assert (crashed.timed_out, crashed.alone) == (True, True)
    assert crashed.detail == "was killed after 10 s run limit"
    assert ModelUnloaded(model="alpha") in warm.said(commands)


def test_the_next_deadline_is_never_after_a_limit_of_what_runs(warm: Bench) -> None:
    warm.assign(1, run_limit=TELL_AFTER / 2)

    assert warm.machine.next_deadline() == warm.now + TELL_AFTER / 2


def test_a_host_that_can_say_nothing_is_known_by_its_mark_to_have_begun(warm: Bench) -> None:
    """Its model holds the interpreter, and must not be run thrice because of that."""
    warm.assign(1, run_limit=10.0)
    warm.at(warm.now + 9.9, marked=2)
    warm.host(HostBeat(memory_mb=1))
    commands = warm.at(warm.now + 0.1, marked=2)

    (crashed,) = warm.said_of(AttemptCrashed, commands)
    assert (crashed.timed_out, crashed.alone) == (True, True)


def test_an_attempt_without_progress_is_killed(warm: Bench) -> None:
    warm.assign(1)
    for _ in range(3):
        warm.now += 9.0
        warm.host(BatchProgressed(batch=2, step=1, total=4))
    warm.now += 15.0
    warm.host(HostBeat(memory_mb=1))
    warm.hear(BrokerHeartbeat())

    assert KillHost("was killed after 20 s without progress") in warm.at(warm.now + 5.0)


def test_a_split_batch_gets_its_time_again(warm: Bench) -> None:
    warm.assign(1, 2, run_limit=10.0)
    warm.now += 9.0
    warm.host(BatchSplit(2))
    warm.host(BatchSplit(77))
    warm.now += 9.0
    warm.end(1, batch=2)
    warm.at(warm.now + 9.0)

    assert not [c for c in warm.commands if isinstance(c, KillHost)]


def test_loading_over_its_limit_kills_the_host_and_blames_no_task(bench: Bench) -> None:
    bench.assign(1)
    bench.host(HostReady())
    for _ in range(3):
        bench.now += 9.9
        bench.host(HostBeat(memory_mb=1))
        bench.hear(BrokerHeartbeat())
    commands = bench.at(bench.now + 0.3)

    assert KillHost("was killed after 30 s load limit") in commands
    (failed,) = bench.said_of(AttemptFailed, commands)
    assert (failed.error.code, failed.error.retryable) == ("load_failed", True)


def test_a_host_that_takes_too_long_to_start_is_the_workers_failure(bench: Bench) -> None:
    bench.assign(1)
    for _ in range(6):
        bench.now += 9.9
        bench.hear(BrokerHeartbeat())
    commands = bench.at(bench.now + 0.6)

    _, trouble, back = bench.said(commands)  # the first is a heartbeat
    assert trouble == Draining(
        "its model host does not start (tried once, again after 1 s): it was killed: it did not"
        " start within 60 s"
    )
    assert back == returned(1, cancelled=False)
    (told,) = bench.said_of(Draining, bench.exit("was killed by SIGKILL", "waiting for the disk"))
    assert told.reason == f"{trouble.reason}: waiting for the disk"
    assert bench.exit("was killed by SIGKILL") == []


def test_what_waits_for_a_host_that_does_not_start_is_handed_back_and_nothing_taken(
    bench: Bench,
) -> None:
    bench.assign(1)

    commands = bench.exit("exited with status 127", "libfirst.so", "libmissing.so: not found")

    reason = (
        "its model host does not start (tried once, again after 1 s): it exited with status 127:"
        " libmissing.so: not found\nlibfirst.so\nlibmissing.so: not found"
    )
    assert bench.said(commands) == [Draining(reason), returned(1, cancelled=False)]
    assert bench.said(bench.assign(2)) == [Draining(reason), returned(2, cancelled=False)]
    assert bench.said(bench.connect())[-1] == Draining(reason)
    assert bench.said_of(AttemptFailed) == []
    assert bench.said_of(AttemptCrashed) == []


def test_a_host_that_does_not_start_is_tried_without_work_ever_more_slowly_until_it_does(
    bench: Bench,
) -> None:
    bench.assign(1)
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        bench.exit("exited with status 127")
        assert bench.machine.host_pause(now=bench.now) == pause
        bench.hear(BrokerHeartbeat())
        assert StartHost() not in bench.at(bench.now + pause - 0.1)
        bench.hear(BrokerHeartbeat())
        assert bench.machine.next_deadline() == pytest.approx(bench.now + 0.1)
        assert StartHost() in bench.at(bench.now + 0.1)
    assert "tried 7 times in a row" in bench.said_of(Draining)[-1].reason

    assert Reconnect("its model host starts again") in bench.host(HostReady())

    assert bench.said_of(Draining, bench.connect()) == []
    bench.assign(2)
    assert bench.said_of(AttemptReturned)[1:] == []
    bench.exit()
    assert bench.machine.host_pause(now=bench.now) == 0.0, "it had started: this is another thing"


def test_a_worker_that_leaves_tries_no_further_starts(bench: Bench) -> None:
    bench.assign(1)
    bench.exit("exited with status 127")
    bench.machine.crashes_found([key_of(9)], alone=True, now=bench.now)  # so that it stays a while

    commands = bench.hear(Drain(30.0))

    assert bench.said(commands) == [Draining()]
    bench.hear(BrokerHeartbeat())
    assert bench.machine.host_pause(now=bench.now + 5.0) == 0.0
    assert StartHost() not in bench.at(bench.now + 5.0)
    bench.hear(AttemptRecorded(*key_of(9)))
    assert Leave() in bench.commands


def test_the_word_that_tells_most_comes_first() -> None:
    assert with_telling_line("died", []) == "died"
    assert with_telling_line("died", ["one", "two"]) == "died: two"
    fault = ["Fatal Python error: Segmentation fault", "Extension modules: numpy"]
    assert with_telling_line("died", fault) == "died: Fatal Python error: Segmentation fault"


def test_of_what_a_host_printed_the_last_lines_are_told_and_not_all_of_each(bench: Bench) -> None:
    bench.assign(1)
    bench.exit("exited with status 1", *(f"{number}" + 400 * "x" for number in range(20)))

    (told,) = bench.said_of(Draining)

    lines = told.reason.splitlines()
    assert [line[:3] for line in lines[1:]] == [f"{number}x"[:3] for number in range(10, 20)]
    assert max(len(line) for line in lines[1:]) == 200


def test_a_host_without_a_sign_of_life_is_killed_and_its_fence_no_longer_named(
    warm: Bench,
) -> None:
    warm.assign(1)
    warm.begin(2)
    warm.now += 8.0
    warm.machine.host_alive(now=warm.now)
    warm.at(warm.now + 9.9)
    assert not [c for c in warm.commands if isinstance(c, KillHost)]

    commands = warm.at(warm.now + 0.1)

    assert KillHost("was killed after 10 s without a sign of life") in commands
    (crashed,) = warm.said_of(AttemptCrashed, commands)
    assert not crashed.timed_out
    assert warm.machine.held == ()
