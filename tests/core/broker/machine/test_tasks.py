"""The table of tasks: its sums and indices agree with what it holds."""

import pytest
from tests.harness.broker_harness import ALICE, BOB

from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.task import TaskState
from paintmq.task_status import TaskStatus
from paintmq.testing.example_tasks import make_payload, make_request


def make_entry(name: str = "1", *, accepted_at: float = 0.0, queue: str = "cpu-light") -> TaskEntry:
    request = make_request(name, inputs=(make_payload(size=10),))
    status = TaskStatus(
        state=TaskState.QUEUED, queue=queue, accepted_at=accepted_at, rank=accepted_at
    )
    return TaskEntry(request, status, None)


def make_table(*entries: TaskEntry) -> TaskTable:
    table = TaskTable.for_queues(["cpu-light"])
    for entry in entries:
        table.add(entry)
    table.check_invariants()
    return table


def move(table: TaskTable, entry: TaskEntry, state: TaskState) -> None:
    table.change(entry, entry.status.changed(state=state))
    table.check_invariants()


def test_bytes_of_inputs_count_until_the_end_and_those_of_results_until_they_are_confirmed() -> (
    None
):
    entry = make_entry()
    table = make_table(entry)
    assert (table.unfinished, table.input_bytes, table.output_bytes) == (1, 10, 0)

    succeeded = entry.status.changed(
        state=TaskState.SUCCEEDED,
        outputs=(make_payload(size=7), make_payload(size=5)),
    )
    table.change(entry, succeeded)
    assert (table.unfinished, table.input_bytes, table.output_bytes) == (0, 0, 12)

    table.change(entry, succeeded.changed(acknowledged_at=1.0))
    assert table.output_bytes == 0
    table.remove(entry)
    table.check_invariants()
    assert len(table) == 0


def test_a_task_of_the_journal_may_be_in_a_queue_that_is_configured_no_more() -> None:
    table = make_table(make_entry(queue="abolished"))

    assert table.counts["abolished"].waiting == 1


def test_the_oldest_arrival_is_that_of_the_task_that_waits_longest() -> None:
    first, second = make_entry("1", accepted_at=1.0), make_entry("2", accepted_at=2.0)
    table = make_table(second, first)
    assert table.oldest_arrival("cpu-light") == 1.0

    move(table, first, TaskState.LEASED)
    assert table.oldest_arrival("cpu-light") == 2.0
    move(table, first, TaskState.QUEUED)  # requeued: it waits since it was accepted
    assert table.oldest_arrival("cpu-light") == 1.0

    move(table, first, TaskState.CANCELLED)
    move(table, second, TaskState.CANCELLED)
    assert table.oldest_arrival("cpu-light") is None
    assert table.oldest_arrival("a queue without tasks") is None


def test_leased_are_the_tasks_of_which_an_attempt_is_under_way() -> None:
    entry = make_entry()
    table = make_table(entry, make_entry("2"))
    assert not table.any_leased

    for state in (TaskState.LEASED, TaskState.LOADING, TaskState.RUNNING):
        move(table, entry, state)
        assert table.leased() == [entry]

    move(table, entry, TaskState.FAILED)
    assert not table.any_leased


def test_a_client_that_leaves_watches_nothing_any_more() -> None:
    entry, other = make_entry("1"), make_entry("2")
    table = make_table(entry, other)
    for client in (ALICE, BOB, ALICE):
        table.watch(entry, client)
    table.watch(other, BOB)
    table.check_invariants()

    assert entry.watchers == (ALICE, BOB)
    assert table.unwatch(BOB) == [entry, other]
    assert table.unwatch(BOB) == []
    assert [list(each.watchers) for each in (entry, other)] == [[ALICE], []]
    table.check_invariants()


def test_a_forgotten_task_is_watched_by_nobody() -> None:
    entry = make_entry()
    table = make_table(entry)
    table.watch(entry, ALICE)
    move(table, entry, TaskState.DEAD)

    table.remove(entry)

    table.check_invariants()
    assert table.unwatch(ALICE) == []


def test_a_sum_that_is_off_is_found() -> None:
    table = make_table(make_entry())
    table.input_bytes += 1

    with pytest.raises(AssertionError, match="input bytes miscounted"):
        table.check_invariants()
