"""Rules of places and fences in shared memory, each broken on purpose: I4 and I22 rest on them."""

import mmap
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from tests.mutants.rules import BrokenRule

from paintmq.shared_memory import broker_arenas, memory_file, ranges, worker_arenas
from paintmq.shared_memory.broker_arenas import Arenas, ClientEnd
from paintmq.shared_memory.client_arena import ClientArena
from paintmq.shared_memory.ranges import Ranges, place_of
from paintmq.shared_memory.reference import Reference, packed, unpacked


def _nothing(*arguments: Any, **more: Any) -> None:
    """Do nothing, instead of what should be done."""


def _yes(*arguments: Any, **more: Any) -> bool:
    return True


_view_or_copy = ranges.view_or_copy
_refer, _take, _grant = ClientArena.refer, Ranges.take, Arenas.grant


def _view_that_holds_nothing(*arguments: Any, held: object = None, **more: Any) -> Any:
    return _view_or_copy(*arguments, **more)


def _refer_and_forget(self: ClientArena, message: Any, payloads: Any) -> Any:
    found = _refer(self, message, payloads)
    self._sent.clear()
    return found


def _take_with_one_fence(self: Ranges, length: int) -> Any:
    self._fence = 0
    return _take(self, length)


def _grant_what_was_lost(self: Arenas, assignment: Any, reference: Reference) -> Any:
    """Take back what an earlier attempt was granted, though its worker has not said it ended."""
    task_id = assignment.task.id
    self._grants = {key: each for key, each in self._grants.items() if key[0] != task_id}
    return _grant(self, assignment, reference)


def _results_wherever(self: Arenas, message: Any, references: Sequence[Reference]) -> Any:
    grant = self._grants.pop((message.task_id, message.fence))
    pairs = zip(references, message.outputs, strict=True)
    return tuple(_view_or_copy(grant.arena.file, each, info.size) for each, info in pairs)


def _inputs_wherever(self: ClientEnd, message: Any, references: Any, infos: Any) -> Any:
    assert self._arena is not None
    pairs = zip(unpacked(references, len(infos)), infos, strict=True)
    return tuple(_view_or_copy(self._arena.file, each, info.size) for each, info in pairs)


def _refer_to_any_arena(self: ClientEnd, message: Any, payloads: Sequence[Any]) -> bytes | None:
    places = [place for place in map(place_of, payloads) if place is not None]
    return packed([place.reference for place in places]) if places else None


def _release_whatever(self: ClientEnd, offsets: Sequence[int]) -> None:
    for offset in offsets:
        self._lent.pop(offset, None)


SHARING_RULES: tuple[BrokenRule, ...] = (
    BrokenRule(
        "room is used again while its result is still read",
        "I4, I22",
        broker_arenas,
        "view_or_copy",
        _view_that_holds_nothing,
        "room_is_used_again_only_when_broker_and_client_have_let_go_of_the_result",
    ),
    BrokenRule(
        "an input's place is used again before its task has ended",
        "I22",
        ClientArena,
        "refer",
        _refer_and_forget,
        "an_input_is_in_use_until_its_task_has_ended",
    ),
    BrokenRule(
        "a client that connects anew forgets what it had sent",
        "I22",
        ClientArena,
        "take_over",
        _nothing,
        "inputs_stay_in_place_when_their_client_connects_anew",
    ),
    BrokenRule(
        "room of a worker that was lost is used again",
        "I4, I22",
        Arenas,
        "grant",
        _grant_what_was_lost,
        "room_of_a_worker_that_was_lost_is_never_used_again",
    ),
    BrokenRule(
        "two uses of a place have one fence",
        "I22",
        Ranges,
        "take",
        _take_with_one_fence,
        "each_use_has_another_fence_and_an_earlier_view_sees_that",
    ),
    BrokenRule(
        "a fence in shared memory is not looked at",
        "I22",
        ranges,
        "has_header",
        _yes,
        "each_use_has_another_fence_and_an_earlier_view_sees_that",
    ),
    BrokenRule(
        "what is no place is mapped all the same",
        "I25",
        ranges,
        "mmap",
        SimpleNamespace(**{**vars(mmap), "PAGESIZE": 1}),
        "what_is_no_place_is_refused",
    ),
    BrokenRule(
        "what a reader writes, all see",
        "I22",
        mmap,
        "MAP_PRIVATE",
        mmap.MAP_SHARED,
        "what_a_reader_writes_no_other_sees",
    ),
    BrokenRule(
        "a child that forked gives back what its parent holds",
        "I22",
        ranges,
        "os",
        SimpleNamespace(**{**vars(os), "getpid": lambda: 1}),
        "what_a_forked_child_drops_stays_in_use",
    ),
    BrokenRule(
        "a worker names any place as its result",
        "I22, I24",
        Arenas,
        "results",
        _results_wherever,
        "a_worker_can_name_no_place_but_the_room_it_was_granted",
    ),
    BrokenRule(
        "a client names any place as its input",
        "I22, I24",
        ClientEnd,
        "resolve",
        _inputs_wherever,
        "a_client_can_name_no_place_but_those_of_its_own_inputs",
    ),
    BrokenRule(
        "a client is told of places in another's arena",
        "I24",
        ClientEnd,
        "refer",
        _refer_to_any_arena,
        "another_client_is_sent_a_result_as_bytes",
    ),
    BrokenRule(
        "a client gives back what was never lent to it",
        "I22",
        ClientEnd,
        "_released",
        _release_whatever,
        "a_client_cannot_give_back_what_was_not_lent_to_it",
    ),
    BrokenRule(
        "memory is shared with whoever says so",
        "I24",
        broker_arenas._BrokerEnd,
        "_check_proof",
        _nothing,
        "a_peer_that_has_not_proven_it_is_sent_bytes",
    ),
    BrokenRule(
        "a file that may be shortened is mapped",
        "I25",
        memory_file,
        "_SEALS",
        0,
        "a_file_that_could_be_shortened_is_not_used",
    ),
    BrokenRule(
        "a worker writes beyond the room it was granted",
        "I22",
        worker_arenas,
        "place_bytes",
        lambda size: 0,
        "a_result_that_does_not_fit_goes_as_bytes_and_the_next_one_fits",
    ),
    BrokenRule(
        "a crash is taken for no end of its attempt",
        "I21",
        broker_arenas,
        "_ENDINGS",
        (),
        "a_worker_killed_while_it_writes_leaves_nothing_of_its_result_in_the_next",
    ),
)
