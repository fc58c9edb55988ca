"""Payloads by reference: whole, to whom they belong, and to nobody else, whatever a peer claims."""

import resource
from pathlib import Path

import numpy as np
import pytest
from tests.harness.link_pair import OTHER, TASK
from tests.harness.shared_memory_trio import FENCE, Trio, finished, request_of, succeeded

from paintmq.errors import WireError
from paintmq.shared_memory import broker_arenas, ranges
from paintmq.shared_memory.broker_arenas import INPUT_BYTES, Arenas
from paintmq.shared_memory.memory_file import make_file
from paintmq.shared_memory.ranges import Ranges, place_of
from paintmq.shared_memory.reference import PAGE, REFERENCE_BYTES, Reference, Span, packed
from paintmq.shared_memory.said import say_proof, say_released
from paintmq.shared_memory.worker_arenas import put_into_room
from paintmq.task import Fence
from paintmq.wire.link import Delivery
from paintmq.wire.messages import AttemptCrashed, AttemptFailed, AttemptReturned, Submit

PICTURE = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8).tobytes()
RESULT = bytes(255 - value for value in PICTURE)


@pytest.fixture
def trio() -> Trio:
    return Trio()


def room_of(assigned: Delivery) -> Span:
    place = place_of(assigned.payloads[0])
    assert place is not None
    return place.reference.room


def test_a_picture_goes_there_and_back_without_leaving_memory(trio: Trio) -> None:
    client, worker = trio.client(), trio.worker()

    submitted = client.submit(PICTURE)
    assigned = worker.assign(submitted)
    assert [bytes(payload) for payload in assigned.payloads] == [PICTURE]
    placed = put_into_room(assigned.payloads, [RESULT])
    assert placed is not None
    recorded = worker.succeed(placed)
    told = client.finish(recorded.payloads)

    assert [bytes(payload) for payload in told.payloads] == [RESULT]
    for delivery in (submitted, assigned, recorded, told):
        assert place_of(delivery.payloads[0]) is not None


def test_only_references_cross_the_connection(trio: Trio) -> None:
    client = trio.client()
    client.peer.send(Submit(request_of(PICTURE)), [client.put(PICTURE)])

    [[_, *frames]] = client.peer.outgoing()

    assert [len(frame) for frame in frames] == [REFERENCE_BYTES]


def test_what_is_small_or_found_no_room_travels_as_bytes(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, worker = trio.client(), trio.worker()
    monkeypatch.setattr(Ranges, "take", lambda *_: None)

    assert client.arena.put(memoryview(PICTURE)) is None
    client.peer.send(Submit(request_of(PICTURE)), [PICTURE])
    [submitted] = client.to_broker()
    assigned = worker.assign(submitted)

    assert [bytes(payload) for payload in assigned.payloads] == [PICTURE]
    assert place_of(submitted.payloads[0]) is place_of(assigned.payloads[0]) is None
    assert put_into_room(assigned.payloads, [RESULT]) is None


def test_an_input_is_in_use_until_its_task_has_ended(trio: Trio) -> None:
    client = trio.client()
    client.submit(PICTURE)
    first = client.put(PICTURE)
    client.arena.ended(OTHER)
    second = client.put(PICTURE)
    client.arena.ended(TASK)
    third = client.put(PICTURE)

    places = [place_of(each) for each in (first, second, third)]
    offsets = [place.reference.offset for place in places if place is not None]
    assert offsets[2] < offsets[0] < offsets[1]


def test_room_is_used_again_only_when_broker_and_client_have_let_go_of_the_result(
    trio: Trio,
) -> None:
    client, worker = trio.client(), trio.worker()
    submitted = client.submit(PICTURE)
    assigned = worker.assign(submitted)
    first = room_of(assigned)
    placed = put_into_room(assigned.payloads, [RESULT])
    assert placed is not None
    recorded = worker.succeed(placed)
    told = client.finish(recorded.payloads)
    del placed, assigned

    del recorded
    assert room_of(worker.assign(submitted, Fence(5, 2))).offset != first.offset
    assert bytes(told.payloads[0]) == RESULT
    del told
    client.peer.share(client.arena.take_released())
    client.to_broker()

    assert room_of(worker.assign(submitted, Fence(5, 3))).offset == first.offset


@pytest.mark.parametrize(
    "ending",
    [
        AttemptReturned(task_id=TASK, fence=FENCE, cancelled=True),
        AttemptFailed(task_id=TASK, fence=FENCE, error=None),  # type: ignore[arg-type]
    ],
    ids=lambda ending: type(ending).__name__,
)
def test_room_comes_back_when_the_worker_says_that_its_attempt_ended(
    trio: Trio, ending: AttemptReturned | AttemptFailed
) -> None:
    worker = trio.worker()
    submitted = trio.client().submit(PICTURE)
    first = room_of(worker.assign(submitted))

    worker.end.arrived(ending)

    assert room_of(worker.assign(submitted, Fence(5, 2))).offset == first.offset


def test_room_of_a_worker_that_was_lost_is_never_used_again(trio: Trio) -> None:
    """It may wake up, and write there what was asked of it before (I4, I22)."""
    client, lost, other = trio.client(), trio.worker(), trio.worker()
    submitted = client.submit(PICTURE)
    first = room_of(lost.assign(submitted))
    lost.end.close()

    second = room_of(other.assign(submitted, Fence(5, 2)))

    assert second.offset >= first.offset + first.bytes


def test_a_worker_killed_while_it_writes_leaves_nothing_of_its_result_in_the_next(
    trio: Trio,
) -> None:
    """Its agent says that the process is dead, so the room is used again, by another fence."""
    client, worker = trio.client(), trio.worker()
    submitted = client.submit(PICTURE)
    first = worker.assign(submitted)
    half = put_into_room(first.payloads, [bytes(len(RESULT))])
    assert half is not None
    dead = place_of(half[0])
    assert dead is not None
    worker.end.arrived(AttemptCrashed(task_id=TASK, fence=FENCE, alone=True, detail="killed"))

    second = worker.assign(submitted, Fence(5, 2))
    placed = put_into_room(second.payloads, [RESULT])
    assert placed is not None
    told = client.finish(worker.succeed(placed, fence=Fence(5, 2)).payloads)

    assert room_of(second).offset == room_of(first).offset
    assert bytes(told.payloads[0]) == RESULT
    assert not dead.is_as_written


def test_an_input_that_its_client_did_not_finish_writing_is_not_what_was_promised(
    trio: Trio,
) -> None:
    """A client killed in the middle of a write has not submitted; one that submits all the same
    spoils its own task: the fence in front is not that of its reference.
    """
    client, worker = trio.client(), trio.worker()
    payload = client.put(PICTURE)
    place = place_of(payload)
    assert place is not None
    place.file.whole()[place.reference.offset : place.reference.offset + 8] = bytes(8)
    client.peer.send(Submit(request_of(PICTURE)), [payload])
    [submitted] = client.to_broker()

    [assigned] = worker.assign(submitted).payloads

    read = place_of(assigned)
    assert read is not None
    assert not read.is_as_written


def test_a_broker_that_is_started_anew_gets_inputs_of_the_arena_before_as_bytes() -> None:
    """The arena of the dead one is still the client's; the new one is told of no place there."""
    before, after = Trio().client(), Trio().client()
    payload = before.put(PICTURE)
    after.arena.take_over(before.arena)

    after.peer.send(Submit(request_of(PICTURE)), [payload])
    [[_, *frames]] = after.peer.outgoing()

    assert b"".join(bytes(frame) for frame in frames) == PICTURE


def test_a_late_result_is_refused_and_costs_nobody_a_connection(trio: Trio) -> None:
    client, worker = trio.client(), trio.worker()
    assigned = worker.assign(client.submit(PICTURE))
    placed = put_into_room(assigned.payloads, [RESULT])
    assert placed is not None
    worker.succeed(placed)

    again = worker.succeed(placed)

    assert (again.payloads, "no longer" in again.refusal) == ((), True)


def test_a_result_that_does_not_fit_goes_as_bytes_and_the_next_one_fits(trio: Trio) -> None:
    client, worker = trio.client(), trio.worker()
    submitted, larger = client.submit(PICTURE), RESULT * 4
    assigned = worker.assign(submitted)

    assert put_into_room(assigned.payloads, [larger]) is None
    worker.succeed([larger])

    assigned = worker.assign(submitted, Fence(5, 2))
    assert put_into_room(assigned.payloads, [larger]) is not None


def test_a_worker_can_name_no_place_but_the_room_it_was_granted(trio: Trio) -> None:
    """Another task's result, or the input of another client, would come out as its own."""
    mine, others, worker = trio.client(), trio.client(), trio.worker()
    stolen = others.submit(PICTURE).payloads[0]
    stolen_place = place_of(stolen)
    assert stolen_place is not None
    room = room_of(worker.assign(mine.submit(PICTURE)))
    behind = stolen_place.reference._replace(offset=room.offset + room.bytes)

    for reference in (stolen_place.reference, behind):
        message = succeeded([PICTURE])
        with pytest.raises(WireError, match="not granted"):
            worker.end.resolve(message, packed([reference]), message.outputs)
        worker.assign(mine.submit(PICTURE))


def test_a_client_can_name_no_place_but_those_of_its_own_inputs(trio: Trio) -> None:
    mine, others = trio.client(), trio.client()
    message = Submit(request_of(PICTURE))
    stolen, own = place_of(others.put(PICTURE)), place_of(mine.put(PICTURE))
    assert stolen is not None
    assert own is not None
    end_of_inputs = own.reference._replace(offset=INPUT_BYTES - 4096)

    for reference in (stolen.reference, end_of_inputs, own.reference._replace(offset=2**63)):
        with pytest.raises(WireError):
            mine.end.resolve(message, packed([reference]), message.task.inputs)


def test_another_client_is_sent_a_result_as_bytes(trio: Trio) -> None:
    owner, other, worker = trio.client(), trio.client(), trio.worker()
    assigned = worker.assign(owner.submit(PICTURE))
    placed = put_into_room(assigned.payloads, [RESULT])
    assert placed is not None
    payloads = worker.succeed(placed).payloads

    assert other.end.refer(finished(payloads), payloads) is None
    assert [bytes(each) for each in other.finish(payloads).payloads] == [RESULT]


def test_inputs_of_a_client_that_has_left_are_still_read(trio: Trio) -> None:
    client, worker = trio.client(), trio.worker()
    submitted = client.submit(PICTURE)
    client.end.close()
    client.arena.ended(TASK)

    assigned = worker.assign(submitted)

    assert (bytes(assigned.payloads[0]), room_of(assigned).bytes) == (PICTURE, 0)


def test_a_peer_that_has_not_proven_it_is_sent_bytes(trio: Trio) -> None:
    worker, submitted = trio.worker(), trio.client().submit(PICTURE)
    stranger = trio.arenas.worker_end()
    assert stranger is not None
    worker.broker.sharing = stranger
    with pytest.raises(WireError, match="no proof"):
        stranger.heard(say_proof(bytes(16)))
    worker.assign(submitted)

    assert trio.arenas.grants == 0  # or there would be one, for what was sent by reference


def test_a_client_cannot_give_back_what_was_not_lent_to_it(trio: Trio) -> None:
    client, worker = trio.client(), trio.worker()
    assigned = worker.assign(client.submit(PICTURE))
    offset = room_of(assigned).offset
    placed = put_into_room(assigned.payloads, [RESULT])
    assert placed is not None
    client.broker.send(finished(placed), worker.succeed(placed).payloads)

    client.end.heard(say_released([offset]))
    with pytest.raises(WireError, match="nothing was lent"):
        client.end.heard(say_released([offset]))


@pytest.mark.parametrize("said", [b"", b"\x01", b"\x02", b"\x03", b"\x04abc", b"\x63" * 20])
def test_what_makes_no_sense_costs_its_sender_the_connection(trio: Trio, said: bytes) -> None:
    client, worker = trio.client(), trio.worker()

    for end in (client.end, worker.end):
        with pytest.raises(WireError):
            end.heard(said)


def test_a_broker_with_many_arenas_goes_on_without_more(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_arenas, "MOST_ARENAS", 1)
    first, second = trio.client(), trio.client()

    assert first.arena.put(memoryview(PICTURE)) is not None
    assert second.arena.put(memoryview(PICTURE)) is None
    first.end.close()
    first.arena.__init__()  # type: ignore[misc]
    del first

    assert trio.client().arena.put(memoryview(PICTURE)) is not None


def test_memory_is_shared_with_nobody_where_it_is_switched_off() -> None:
    arenas = Arenas.make(enabled=False)

    assert (arenas.client_end(), arenas.worker_end()) == (None, None)


def test_inputs_stay_in_place_when_their_client_connects_anew(trio: Trio) -> None:
    """The broker has their tasks still, and another thread may be about to put an input."""
    before, after = trio.client(), trio.client()
    submitted = before.submit(PICTURE)
    after.arena.take_over(before.arena)
    ranges = before.arena._inputs
    assert ranges is not None

    del before
    assert ranges.used_bytes > 0
    assert bytes(trio.worker().assign(submitted).payloads[0]) == PICTURE
    after.arena.ended(TASK)

    assert ranges.used_bytes == 0


def test_a_process_that_can_map_no_more_gets_copies_and_keeps_no_place(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, worker = trio.client(), trio.worker()
    assigned = worker.assign(client.submit(PICTURE))
    outputs = put_into_room(assigned.payloads, [RESULT])
    assert outputs is not None
    told = worker.succeed(outputs)
    monkeypatch.setattr(ranges, "most_places", lambda: 0)
    ended = client.finish(told.payloads)

    assert [bytes(payload) for payload in ended.payloads] == [RESULT]
    assert place_of(ended.payloads[0]) is None
    assert client.arena.put(memoryview(PICTURE)) is None
    assert client.arena.take_released()


def test_as_many_places_are_mapped_as_a_quarter_of_the_files_a_process_may_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 40))
    file = make_file(64 * PAGE)
    assert file is not None
    before = len(list(Path("/proc/self/fd").iterdir()))
    payloads = [
        ranges.view_or_copy(file, Reference(file.where, PAGE * at, 1), 100) for at in range(1, 60)
    ]
    opened = len(list(Path("/proc/self/fd").iterdir())) - before

    assert opened <= 10
    assert {len(payload) for payload in payloads} == {100}
    with pytest.raises(WireError, match="no place in an arena"):
        ranges.view_or_copy(file, Reference(file.where, PAGE * 63, 1), 5_000)


def test_no_file_stays_open_once_both_ends_have_let_go(trio: Trio) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    client = trio.client()
    delivery = client.submit(PICTURE)
    client.arena.close()
    client.arena.ended(TASK)
    client.end.close()
    trio.arenas.close_all()
    del delivery

    assert len(list(Path("/proc/self/fd").iterdir())) < len(before)
    assert trio.arenas.client_end() is None
    assert trio.arenas.worker_end() is None
