"""What remains of a journal's records."""

from paintmq.broker.records import (
    BrokerBooted,
    Record,
    StoredTask,
    TaskPurged,
    keeps_inputs,
    replay,
)
from paintmq.task import TaskState
from paintmq.testing.store_contract import accepted, changed


def test_the_last_record_of_a_task_tells_where_it_stands() -> None:
    """I17: records carry the whole status, so the last one wins."""
    first, second, third = accepted("1"), accepted("2"), accepted("3")
    leased = changed(first, TaskState.LEASED)
    records: list[Record] = [
        BrokerBooted(1, 0.0),
        first,
        second,
        leased,
        third,
        TaskPurged(second.request.id),
        BrokerBooted(2, 9.0),
    ]

    assert replay(records) == {
        first.request.id: StoredTask(first.request, leased.status),
        third.request.id: StoredTask(third.request, third.status),
    }


def test_inputs_are_kept_as_long_as_the_task_may_run_again() -> None:
    kept = {state for state in TaskState if keeps_inputs(state)}

    assert kept == {
        TaskState.SUBMITTED,
        TaskState.QUEUED,
        TaskState.LEASED,
        TaskState.LOADING,
        TaskState.RUNNING,
        TaskState.DEAD,
    }
