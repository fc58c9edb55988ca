"""A model shares its process with the host, and so may say anything in its name."""

from attrs import evolve
from tests.harness.worker_bench import Bench, key_of, outcome

from paintmq.task import TaskError
from paintmq.wire.messages import (
    AttemptFailed,
    AttemptRecorded,
    AttemptSucceeded,
    Heartbeat,
    ModelLoaded,
)
from paintmq.worker.channel.messages import AttemptsEnded, HostBeat, HostLoaded, HostLoadFailed
from paintmq.worker.machine.commands import ReleaseOutputs
from paintmq.worker.machine.host_life import MOST_MB


def test_a_failure_without_a_reason_is_a_failure(warm: Bench) -> None:
    warm.assign(1)
    lie = evolve(outcome(1, error="odd"), error=None)

    commands = warm.host(AttemptsEnded(batch=2, outcomes=(lie,)))

    (failed,) = warm.said_of(AttemptFailed, commands)
    assert failed.error.code == "model_error"


def test_an_ending_said_twice_keeps_its_outputs_until_it_is_recorded(warm: Bench) -> None:
    """They are sent again until then."""
    warm.assign(1, 2)
    done = outcome(1)
    commands = warm.host(AttemptsEnded(batch=2, outcomes=(done, done)))

    assert len(warm.said_of(AttemptSucceeded, commands)) == 1
    assert ReleaseOutputs(*key_of(1)) not in commands
    task_id, fence = key_of(1)
    recorded = warm.hear(AttemptRecorded(task_id=task_id, fence=fence))
    assert ReleaseOutputs(*key_of(1)) in recorded


def test_news_of_a_model_that_was_not_to_be_loaded_changes_nothing(warm: Bench) -> None:
    error = TaskError(code="oom", message="no room")

    loaded = warm.host(HostLoaded(model="gamma", seconds=1.0, memory_mb=1))
    failed = warm.host(HostLoadFailed(model="unheard of", error=error))

    assert not warm.said_of(ModelLoaded, loaded)
    assert failed == []


def test_a_heartbeat_can_be_read_whatever_the_host_measures(warm: Bench) -> None:
    warm.host(HostBeat(memory_mb=-(1 << 63), gpu_memory_free_mb=-1))
    commands = warm.until_deadline()
    warm.host(HostBeat(memory_mb=1, gpu_memory_free_mb=(1 << 63) - 1))
    commands += warm.until_deadline()

    beats = warm.said_of(Heartbeat, commands)
    assert [beat.gpu_memory_free_mb for beat in beats] == [0, MOST_MB]
    assert beats[0].memory_free_mb == 1000


def test_an_ending_said_again_of_another_batch_frees_nothing_that_is_still_to_be_sent(
    warm: Bench,
) -> None:
    warm.assign(1)
    warm.end(1, batch=2)

    assert ReleaseOutputs(*key_of(1)) not in warm.end(1, batch=77)
