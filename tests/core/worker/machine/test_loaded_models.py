"""Which models a worker loads, keeps and lets go."""

from tests.harness.worker_bench import Bench, key_of, make_bench

from paintmq.task import TaskError
from paintmq.wire.messages import (
    AttemptCrashed,
    AttemptFailed,
    AttemptRecorded,
    BrokerHeartbeat,
    ModelLoaded,
    ModelUnloaded,
    Preload,
)
from paintmq.worker.channel.messages import (
    HostBeat,
    HostLoaded,
    HostLoadFailed,
    HostReady,
    Load,
    Unload,
)
from paintmq.worker.machine.commands import (
    StartHost,
    StopHost,
)


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


def test_a_model_that_turns_out_larger_than_it_was_thought_to_be_makes_others_leave(
    warm: Bench,
) -> None:
    """The budget is 250 MB, of which ``alpha`` takes 100."""
    warm.assign(1, model="beta")

    commands = warm.host(HostLoaded(model="beta", seconds=1.0, memory_mb=200))

    assert warm.orders(commands)[0] == Unload("alpha")
    assert ModelUnloaded(model="alpha") in warm.said(commands)
    assert warm.runs(commands) == [[key_of(1)[0]]]
