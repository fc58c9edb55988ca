"""The rules of WorkerMachine, with the broker, the model host and the clock played by hand."""

import pytest

from paintmq.task import PayloadInfo, PeerId, TaskError
from paintmq.testing.worker_bench import OUTPUT, Bench, key_of, make_bench
from paintmq.wire.messages import (
    Abandon,
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
    Heartbeat,
    ModelLoaded,
    ModelUnloaded,
    Preload,
    Refused,
    WhoAreYou,
    WorkerGoodbye,
    WorkerHello,
    WorkerWelcome,
)
from paintmq.worker.commands import (
    KillHost,
    Leave,
    Reconnect,
    ReleaseInputs,
    ReleaseOutputs,
    SendToHost,
    StartHost,
    StopHost,
)
from paintmq.worker.host_messages import (
    BatchProgressed,
    BatchSplit,
    CancelItem,
    HostBeat,
    HostLeaving,
    HostLoaded,
    HostLoadFailed,
    HostReady,
    HostUnloaded,
    Load,
    Unload,
)


@pytest.fixture
def bench() -> Bench:
    """A worker that was welcomed and does nothing yet."""
    bench = make_bench()
    bench.welcome()
    return bench


@pytest.fixture
def warm() -> Bench:
    """A worker whose host is up with the model ``alpha``."""
    bench = make_bench()
    bench.welcome()
    bench.assign(99)
    bench.ready("alpha")
    bench.end(99, batch=1)
    bench.hear(AttemptRecorded(*key_of(99)))
    bench.commands.clear()
    return bench


# ---- connecting ------------------------------------------------------------------------------


def test_a_fresh_worker_introduces_itself_and_starts_no_host() -> None:
    bench = make_bench()

    commands = bench.connect()

    (hello,) = bench.said_of(WorkerHello)
    assert hello.name == "node/cpu-0"
    assert hello.models == ("alpha", "beta", "gamma")
    assert hello.unavailable == {"delta": "it needs torch"}
    assert hello.credit == 2
    assert len(commands) == 1


def test_an_unanswered_hello_is_tried_again_on_new_connections_ever_more_slowly() -> None:
    bench = make_bench()
    waits = []
    for _ in range(6):
        bench.connect()
        before = bench.now
        assert Reconnect("the broker is silent") in bench.until_deadline()
        waits.append(bench.now - before)

    assert waits == [2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def test_a_new_connection_names_the_one_it_replaces_and_what_it_still_holds(warm: Bench) -> None:
    warm.assign(1)
    commands = warm.connect()

    (hello,) = warm.said_of(WorkerHello, commands)
    assert hello.replaces == PeerId(b"peer1")
    assert hello.running == (key_of(1),)
    assert [model.model for model in hello.resident] == ["alpha"]


def test_a_silent_broker_is_left_after_three_missed_heartbeats(bench: Bench) -> None:
    bench.at(bench.now + 14.9)
    assert not [c for c in bench.commands if isinstance(c, Reconnect)]

    assert Reconnect("the broker is silent") in bench.at(bench.now + 0.1)


def test_anything_the_broker_says_shows_that_it_lives(bench: Bench) -> None:
    bench.at(bench.now + 14.9)
    bench.hear(BrokerHeartbeat())

    bench.at(bench.now + 14.9)

    assert not [c for c in bench.commands if isinstance(c, Reconnect)]


def test_a_restarted_broker_is_told_everything_again_once(warm: Bench) -> None:
    warm.assign(1, 2)
    warm.end(1, batch=2)
    commands = warm.hear(WhoAreYou())
    assert [type(message) for message in warm.said(commands)] == [WorkerHello, AttemptSucceeded]

    assert warm.hear(WhoAreYou()) == []


def test_a_refused_worker_asks_again_after_a_minute(bench: Bench) -> None:
    bench.connect()
    bench.hear(Refused("protocol version 1 to 1 is too old"))
    bench.at(bench.now + 59.9)
    assert not [c for c in bench.commands if isinstance(c, Reconnect)]

    assert Reconnect("the broker is silent") in bench.at(bench.now + 0.1)


def test_heartbeats_come_at_the_rate_the_broker_wants_and_name_what_will_be_answered(
    warm: Bench,
) -> None:
    warm.host(HostBeat(memory_mb=400, gpu_memory_free_mb=5))
    warm.assign(1)
    warm.end(1, batch=2)
    warm.assign(2)
    warm.at(warm.now + 4.9)
    assert warm.said_of(Heartbeat) == []

    warm.at(warm.now + 0.1)

    (beat,) = warm.said_of(Heartbeat)
    assert beat.running == (key_of(2), key_of(1))
    assert (beat.memory_free_mb, beat.gpu_memory_free_mb) == (600, 5)


# ---- running ---------------------------------------------------------------------------------


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
    assert bench.said(loaded) == [
        ModelLoaded(model="alpha", seconds=2.0, memory_mb=120),
        AttemptStarted(task_id=key_of(1)[0], fence=key_of(1)[1]),
    ]


def test_a_second_batch_is_sent_ahead_but_starts_only_when_the_first_ends(warm: Bench) -> None:
    warm.assign(1)
    ahead = warm.assign(2)
    third = warm.assign(3)
    assert warm.runs(ahead) == [[key_of(2)[0]]]
    assert warm.said_of(AttemptStarted, ahead) == []
    assert warm.runs(third) == []
    assert warm.machine.running == (key_of(1),)

    commands = warm.end(1, batch=2)

    assert [started.task_id for started in warm.said_of(AttemptStarted, commands)] == [key_of(2)[0]]
    assert warm.runs(commands) == [[key_of(3)[0]]]
    assert warm.machine.held == (key_of(2), key_of(3))


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
    warm.assign(3)
    assert warm.said_of(AttemptStarted, warm.end(1, batch=2)) == []

    (started,) = warm.said_of(AttemptStarted, warm.end(2, batch=2))

    assert started.task_id == key_of(3)[0]


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
    warm.at(warm.now + 9.9)
    warm.host(HostBeat(memory_mb=1))
    commands = warm.at(warm.now + 0.1)

    assert KillHost("was killed after 10 s run limit") in commands
    (crashed,) = warm.said_of(AttemptCrashed, commands)
    assert (crashed.timed_out, crashed.alone) == (True, True)
    assert crashed.detail == "was killed after 10 s run limit"
    assert ModelUnloaded(model="alpha") in warm.said(commands)


def test_the_next_deadline_is_never_after_a_limit_of_what_runs(warm: Bench) -> None:
    warm.assign(1, run_limit=2.0)

    assert warm.machine.next_deadline() == warm.now + 2.0


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


def test_a_host_that_does_not_start_fails_what_waits_for_it(bench: Bench) -> None:
    bench.assign(1)
    for _ in range(6):
        bench.now += 9.9
        bench.hear(BrokerHeartbeat())
    commands = bench.at(bench.now + 0.6)

    (failed,) = bench.said_of(AttemptFailed, commands)
    assert failed.error.code == "host_failed"
    assert "it did not start within 60 s" in failed.error.message


def test_a_host_without_a_sign_of_life_is_killed_and_its_fence_no_longer_named(
    warm: Bench,
) -> None:
    warm.assign(1)
    warm.now += 8.0
    warm.machine.host_alive(now=warm.now)
    warm.at(warm.now + 9.9)
    assert not [c for c in warm.commands if isinstance(c, KillHost)]

    commands = warm.at(warm.now + 0.1)

    assert KillHost("was killed after 10 s without a sign of life") in commands
    (crashed,) = warm.said_of(AttemptCrashed, commands)
    assert not crashed.timed_out
    assert warm.machine.held == ()


# ---- crashes ---------------------------------------------------------------------------------


def test_a_crash_is_reported_alone_if_nothing_shared_the_batch(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2)
    commands = warm.exit("was killed by SIGSEGV")

    (crashed,) = warm.said_of(AttemptCrashed, commands)
    assert (crashed.task_id, crashed.alone, crashed.timed_out) == (key_of(1)[0], True, False)
    assert crashed.detail == "was killed by SIGSEGV"
    assert StartHost() in commands
    assert warm.runs(warm.ready("alpha")) == [[key_of(2)[0]]]


def test_a_crash_of_a_batch_blames_nobody_alone(warm: Bench) -> None:
    warm.assign(1, 2)
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
        bench.exit("exited with status 1")
        bench.commands.clear()

    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]


def test_work_done_forgives_earlier_deaths(warm: Bench) -> None:
    for number in range(1, 5):
        warm.assign(number)
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


# ---- cancelling ------------------------------------------------------------------------------


def abandon(number: int, grace: float = 5.0) -> Abandon:
    return Abandon(task_id=key_of(number)[0], fence=key_of(number)[1], grace=grace)


def returned(number: int, *, cancelled: bool = True) -> AttemptReturned:
    return AttemptReturned(task_id=key_of(number)[0], fence=key_of(number)[1], cancelled=cancelled)


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
    warm.assign(2)
    warm.hear(abandon(2))
    commands = warm.exit()
    assert warm.said_of(AttemptReturned, commands) == [returned(2)]
    assert StartHost() not in commands

    warm.assign(3)
    warm.ready("alpha")
    warm.assign(4)
    warm.hear(abandon(4, grace=0.0))
    warm.at(warm.now)
    commands = warm.exit()

    assert warm.said_of(AttemptReturned, commands) == []
    assert warm.machine.held == ()


def test_an_abandoned_attempt_that_dies_with_its_host_is_not_a_crash(warm: Bench) -> None:
    warm.assign(1)
    warm.hear(abandon(1))

    assert warm.said_of(AttemptReturned, warm.exit()) == [returned(1)]


def test_abandoning_what_is_unknown_or_has_ended(warm: Bench) -> None:
    assert warm.said(warm.hear(abandon(1))) == [returned(1)]
    warm.assign(2)
    warm.end(2, batch=2)

    assert warm.hear(abandon(2)) == []


# ---- models ----------------------------------------------------------------------------------


def test_pinned_models_are_loaded_at_once_and_never_unloaded() -> None:
    bench = make_bench(pinned=("alpha", "nonsense"), budget_mb=100)
    bench.welcome()
    assert StartHost() in bench.commands
    bench.ready("alpha")
    assert bench.said_of(ModelLoaded)[0].pinned

    commands = bench.assign(1, model="beta")

    assert bench.orders(commands) == [Load("beta")]


def test_a_preload_happens_when_nothing_waits(warm: Bench) -> None:
    warm.assign(1)
    assert warm.hear(Preload("beta")) == []
    assert warm.hear(Preload("beta")) == []
    assert warm.hear(Preload("alpha")) == []
    assert warm.hear(Preload("delta")) == []

    assert warm.orders(warm.end(1, batch=2)) == [Load("beta")]
    assert warm.hear(Preload("beta")) == []
    assert warm.orders(warm.host(HostLoaded(model="beta", seconds=1.0, memory_mb=1))) == []


def test_a_model_that_cannot_be_loaded_fails_its_tasks_and_is_reported(bench: Bench) -> None:
    bench.assign(1)
    bench.assign(2)
    bench.host(HostReady())
    error = TaskError(code="weights_missing", message="no weights")

    commands = bench.host(HostLoadFailed(model="alpha", error=error))

    assert bench.said(commands)[0] == ModelUnloaded(model="alpha", error="no weights")
    assert [failed.error for failed in bench.said_of(AttemptFailed, commands)] == [error, error]


def test_a_load_that_runs_out_of_memory_is_tried_once_more_alone(warm: Bench) -> None:
    error = TaskError(code="oom", message="not enough memory", retryable=True)
    warm.assign(1, model="beta")
    again = warm.host(HostLoadFailed(model="beta", error=error))
    assert warm.orders(again) == [Unload("alpha"), Load("beta")]

    commands = warm.host(HostLoadFailed(model="beta", error=error))

    assert [failed.error.code for failed in warm.said_of(AttemptFailed, commands)] == ["oom"]


def test_an_attempt_that_runs_out_of_memory_makes_the_other_models_leave(warm: Bench) -> None:
    warm.assign(1, model="beta")
    warm.host(HostLoaded(model="beta", seconds=1.0, memory_mb=100))
    commands = warm.end(1, batch=2, error="oom")

    assert Unload("alpha") in warm.orders(commands)


def test_a_host_that_grows_without_end_is_replaced_between_two_batches() -> None:
    bench = make_bench(growth_mb=500)
    bench.welcome()
    bench.assign(1)
    bench.ready("alpha")
    for number, memory_mb in enumerate([300, 400, 500, 900, 1000], start=1):
        bench.assign(number + 1)
        assert StopHost() not in bench.end_with_memory(number, memory_mb)

    assert StopHost() not in bench.assign(7)
    commands = bench.end_with_memory(6, 1001)
    assert StopHost() not in commands  # the batch that had been sent ahead comes first
    commands = bench.end_with_memory(7, 1001)

    assert StopHost() in commands
    assert bench.said_of(AttemptCrashed) == []
    bench.assign(50)
    assert StartHost() in bench.exit("exited with status 0")


def test_an_idle_host_is_stopped_and_started_again_for_the_next_task() -> None:
    bench = make_bench(idle_exit=30.0)
    bench.welcome()
    bench.assign(1)
    bench.ready("alpha")
    bench.end(1)
    bench.hear(AttemptRecorded(*key_of(1)))
    for _ in range(4):
        bench.now += 7.0
        bench.host(HostBeat(memory_mb=1))
        bench.hear(BrokerHeartbeat())
        assert StopHost() not in bench.at(bench.now)

    commands = bench.at(bench.now + 2.0)
    assert StopHost() in commands
    assert ModelUnloaded(model="alpha") in bench.said(commands)
    assert bench.exit("exited with status 0") == []
    assert StartHost() in bench.assign(2)


# ---- leaving ---------------------------------------------------------------------------------


def test_draining_hands_back_what_has_not_begun_and_finishes_the_rest(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2, model="beta")
    commands = warm.hear(Drain(30.0))
    assert warm.said(commands) == [Draining(), returned(2, cancelled=False)]
    assert warm.machine.is_draining
    assert warm.said(warm.assign(3)) == [returned(3, cancelled=False)]

    assert Leave() not in warm.end(1, batch=2)
    commands = warm.hear(AttemptRecorded(*key_of(1)))

    assert warm.said(commands) == [WorkerGoodbye()]
    assert commands[-1] == Leave()
    assert warm.machine.next_deadline() is None


def test_draining_hands_back_what_does_not_finish_in_time(warm: Bench) -> None:
    warm.assign(1)
    warm.did(warm.machine.drain(30.0, now=warm.now))
    warm.did(warm.machine.drain(3.0, now=warm.now))
    commands = warm.at(warm.now + 3.0)

    assert KillHost("was killed: the worker drains") in commands
    assert warm.said_of(AttemptReturned, commands) == [returned(1, cancelled=False)]
    assert Leave() in commands


def test_draining_does_not_wait_for_ever_for_a_record(warm: Bench) -> None:
    warm.assign(1)
    warm.end(1, batch=2)
    warm.did(warm.machine.drain(3.0, now=warm.now))
    assert Leave() not in warm.at(warm.now + 2.9)

    assert Leave() in warm.at(warm.now + 0.1)


def test_a_crash_while_draining_hands_back_what_had_been_sent_ahead(warm: Bench) -> None:
    warm.assign(1)
    warm.assign(2)
    warm.hear(Drain(30.0))

    commands = warm.exit()

    assert warm.said_of(AttemptReturned, commands) == [returned(2, cancelled=False)]
    assert StartHost() not in commands


def test_a_draining_worker_says_so_on_a_new_connection(warm: Bench) -> None:
    warm.assign(1)
    warm.hear(Drain(30.0))

    assert warm.said(warm.connect())[-1] == Draining()


def test_an_idle_worker_leaves_at_once_and_does_nothing_more(bench: Bench) -> None:
    assert Leave() in bench.hear(Drain(30.0))

    assert bench.hear(WorkerWelcome(incarnation=1, heartbeat=5.0, lease=30.0)) == []
    assert bench.at(bench.now + 100.0) == []
    assert bench.did(bench.machine.drain(1.0, now=bench.now)) == []
    assert bench.exit() == []
