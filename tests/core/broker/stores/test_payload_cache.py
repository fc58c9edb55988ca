from tests.harness.shared_memory_trio import Trio

from paintmq.broker.records import TaskPurged
from paintmq.broker.stores import PayloadKey
from paintmq.broker.stores.payload_cache import PayloadCache, payload_keys, payloads_kept
from paintmq.shared_memory.ranges import place_of
from paintmq.task import Fence, TaskId, TaskState
from paintmq.testing.example_tasks import make_payload
from paintmq.testing.store_contract import accepted, changed, finished
from paintmq.wire.messages import (
    Assign,
    Assignment,
    AttemptSucceeded,
    Finished,
    Heartbeat,
    Submit,
    WhoAreYou,
)
from paintmq.wire.transfer import Pieces

TASK = accepted("1", b"one", b"two")
IN0, IN1 = (PayloadKey(TASK.request.id, "in", name) for name in "01")
OUT = PayloadKey(TASK.request.id, "out", "0")


def test_inputs_are_kept_with_the_acceptance_they_came_with() -> None:
    kept = payloads_kept(Submit(TASK.request), [b"one", b"two"], [TASK])

    assert kept == {0: [(IN0, b"one"), (IN1, b"two")]}


def test_nothing_of_a_duplicate_submission_is_kept() -> None:
    assert payloads_kept(Submit(TASK.request), [b"one", b"two"], []) == {}


def test_outputs_are_kept_with_the_success_they_belong_to_alone() -> None:
    ending = finished(TASK, b"out")
    answer = AttemptSucceeded(
        task_id=TASK.request.id, fence=Fence(0, 0), outputs=ending.status.outputs, ran=1.0
    )
    stale = AttemptSucceeded(
        task_id=TASK.request.id, fence=Fence(0, 1), outputs=ending.status.outputs, ran=1.0
    )

    assert payloads_kept(answer, [b"out"], [ending]) == {0: [(OUT, b"out")]}
    assert payloads_kept(stale, [b"out"], [ending]) == {}
    assert payloads_kept(answer, [b"out"], []) == {}


def test_an_assignment_needs_the_inputs_task_by_task_and_an_ending_the_outputs() -> None:
    assignment = Assignment(task=TASK.request, fence=Fence(1, 1), run_limit=1.0)

    assert payload_keys(Assign((assignment, assignment))) == [IN0, IN1, IN0, IN1]
    message = Finished(
        task_id=TASK.request.id, state=TaskState.SUCCEEDED, outputs=(make_payload("0"),)
    )
    assert payload_keys(message) == [OUT]


def held() -> PayloadCache:
    table = PayloadCache(True)
    table.put(IN0, b"one")
    table.put(IN1, b"two")
    return table


def test_inputs_are_forgotten_when_nobody_can_need_them() -> None:
    table = held()
    table.follow([finished(TASK)])

    assert (table.get(IN0), len(table), table.bytes) == (None, 0, 0)


def test_the_inputs_of_a_dead_task_are_kept_for_its_revival() -> None:
    table = held()
    table.follow([changed(TASK, TaskState.DEAD), changed(TASK, TaskState.LEASED)])

    assert table.get(IN0) == b"one"


def test_a_purge_forgets_everything() -> None:
    table = held()
    table.put(OUT, b"out")
    table.follow([TaskPurged(TASK.request.id)])

    assert len(table) == 0


def test_only_what_is_durable_elsewhere_leaves_memory_the_longest_unused_first() -> None:
    table = PayloadCache(False, cache_bytes=10)
    keys = [PayloadKey(TaskId(f"{number:032x}"), "out", "0") for number in range(4)]
    for number, key in enumerate(keys):
        table.put(key, b"12345", sequence=number + 1)
    table.get(keys[0])
    table.evict(durable=3)

    assert [table.get(key) is not None for key in keys] == [True, False, False, True]


def test_what_nobody_else_keeps_never_leaves_memory() -> None:
    table = PayloadCache(True, cache_bytes=1)
    table.put(IN0, b"12345")
    table.evict(durable=100)

    assert table.get(IN0) == b"12345"


def test_putting_a_payload_again_counts_it_once() -> None:
    table = held()
    table.put(IN0, b"another")

    assert (table.bytes, len(table)) == (len(b"another") + len(b"two"), 2)


def test_what_is_not_durable_yet_stays_however_much_it_is() -> None:
    table = PayloadCache(False, cache_bytes=1)
    table.put(IN0, b"12345", sequence=7)
    table.put(IN1, b"12345", sequence=8)
    table.evict(durable=6)

    assert len(table) == 2


def test_nothing_leaves_memory_while_there_is_room() -> None:
    table = PayloadCache(False, cache_bytes=100)
    table.put(IN0, b"12345", sequence=1)
    table.evict(durable=6)

    assert len(table) == 1


def test_records_of_other_tasks_are_passed_over() -> None:
    other = accepted("2", b"x")

    assert payloads_kept(Submit(TASK.request), [b"one", b"two"], [other, TASK]) == {
        1: [(IN0, b"one"), (IN1, b"two")]
    }
    assert payloads_kept(Submit(TASK.request), [b"one", b"two"], [other]) == {}


def test_messages_without_payloads_keep_and_need_none() -> None:
    assert payloads_kept(Heartbeat(), [], [TASK]) == {}
    assert payload_keys(WhoAreYou()) == []


def test_inputs_of_a_dead_letter_leave_memory_that_their_client_uses_again() -> None:
    """The client is told that its task has ended, and writes other inputs to the same place."""
    client, cache = Trio().client(), PayloadCache(True)
    content = bytes(200_000)
    (data,) = client.submit(content, TASK.request.id).payloads
    place = place_of(data)
    assert place is not None
    key = PayloadKey(TASK.request.id, "in", "0")
    cache.put(key, data)

    cache.follow([changed(TASK, TaskState.DEAD)])
    place.file.whole()[place.reference.offset : place.reference.offset + 1_000] = b"x" * 1_000

    assert cache.get(key) == content


def test_the_pieces_that_a_payload_came_in_are_kept_as_they_are_and_counted() -> None:
    cache, pieces = PayloadCache(True), Pieces((b"one", b"two"), 6)

    cache.put(IN0, pieces)

    assert (cache.get(IN0), cache.bytes) == (pieces, 6)
