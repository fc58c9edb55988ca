from math import inf

from tests.harness.worker_bench import key_of

from paintmq.wire.messages import AttemptCrashed
from paintmq.worker.machine.profile import WorkerTimers
from paintmq.worker.machine.unconfirmed import REMEMBERED, UnconfirmedEndings


def make_ending(number: int) -> AttemptCrashed:
    task_id, fence = key_of(number)
    return AttemptCrashed(task_id=task_id, fence=fence, alone=True, detail="gone")


def test_repeats_become_rarer_up_to_a_limit() -> None:
    endings = UnconfirmedEndings(WorkerTimers(record_first=10.0, record_most=30.0))
    endings.add(make_ending(1), now=0.0)
    times = []
    for _ in range(4):
        deadline = endings.next_deadline()
        assert deadline is not None
        assert endings.pop_due(now=deadline) == [make_ending(1)]
        times.append(deadline)

    assert times == [10.0, 30.0, 60.0, 90.0]
    assert len(endings) == 1


def test_memory_of_recorded_endings_is_bounded() -> None:
    endings = UnconfirmedEndings(WorkerTimers())
    for number in range(REMEMBERED + 1):
        endings.forget(key_of(number))

    assert not endings.is_over(key_of(0))
    assert endings.is_over(key_of(REMEMBERED))
    assert endings.next_deadline() == inf
