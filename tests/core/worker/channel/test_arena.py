"""Memory that an agent and its model host share: ranges are used again only when they are free."""

import gc
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from paintmq.errors import WireError
from paintmq.units import MIB
from paintmq.worker.channel import arena as arena_module
from paintmq.worker.channel.arena import (
    ARENA_BYTES,
    ARENAS_VARIABLE,
    KEPT_BYTES,
    ArenaFiles,
    IncomingArena,
    OutgoingArena,
)

PAGE = mmap.ALLOCATIONGRANULARITY


@pytest.fixture
def ends() -> Iterator[tuple[OutgoingArena, IncomingArena]]:
    """Both ends of one arena."""
    files = ArenaFiles.make()
    assert files is not None
    incoming = IncomingArena(os.dup(files.to_host))
    outgoing, other = files.ends_of_agent()
    assert outgoing is not None
    yield outgoing, incoming
    incoming.close()
    other.close()


def put(arena: OutgoingArena, *payloads: bytes) -> int:
    start = arena.put([[memoryview(payload)] for payload in payloads])
    assert start is not None
    return start


def test_payloads_arrive_as_they_were_and_begin_where_any_array_may(
    ends: tuple[OutgoingArena, IncomingArena],
) -> None:
    outgoing, incoming = ends
    payloads = [b"one", b"", b"x" * 100_000, np.arange(5, dtype=np.float32).tobytes()]

    views = incoming.view(put(outgoing, *payloads), [len(payload) for payload in payloads])

    assert [bytes(view) for view in views] == payloads
    assert np.frombuffer(views[3], np.float32).flags.aligned
    assert all(memoryview(view).readonly for view in views)


def test_a_range_is_used_again_only_when_the_last_view_of_it_is_gone(
    ends: tuple[OutgoingArena, IncomingArena],
) -> None:
    """I22: a model may keep an input for as long as it likes."""
    outgoing, incoming = ends
    first = put(outgoing, b"a" * 10, b"b" * 10)
    one, two = incoming.view(first, [10, 10])
    kept = np.frombuffer(two, np.uint8)
    del one, two
    gc.collect()

    assert incoming.unused() == []
    assert put(outgoing, b"c" * 20) != first
    assert bytes(kept) == b"b" * 10
    del kept
    assert incoming.unused() == [first]
    assert incoming.unused() == []
    outgoing.release(first)
    assert put(outgoing, b"d") == first


def test_what_a_model_writes_into_its_input_reaches_no_other_view(
    ends: tuple[OutgoingArena, IncomingArena],
) -> None:
    """I22. Writing is not prevented: a library that does not respect read-only arrays would
    end the process.
    """
    outgoing, incoming = ends
    start = put(outgoing, b"a" * 10)
    (mine,) = incoming.view(start, [10])
    (another,) = incoming.view(start, [10])
    array = np.frombuffer(mine, np.uint8)
    writable = np.lib.stride_tricks.as_strided(array)
    pointer = writable.__array_interface__["data"][0]

    import ctypes

    ctypes.memset(pointer, ord("z"), 5)

    assert bytes(mine) == b"zzzzzaaaaa"
    assert bytes(another) == b"a" * 10


def test_a_full_arena_takes_nothing_until_something_is_given_back(
    ends: tuple[OutgoingArena, IncomingArena], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I14."""
    outgoing, _ = ends
    monkeypatch.setattr(arena_module, "ARENA_BYTES", 4 * PAGE)
    first, second = put(outgoing, bytes(2 * PAGE)), put(outgoing, bytes(PAGE + 1))

    assert outgoing.put([[memoryview(b"more")]]) is None
    assert outgoing.used_bytes == 4 * PAGE
    outgoing.release(first)
    assert put(outgoing, bytes(PAGE)) == first
    assert put(outgoing, bytes(PAGE)) == PAGE
    assert second == 2 * PAGE


def test_memory_is_given_back_to_the_system_once_nothing_lies_in_the_arena(
    ends: tuple[OutgoingArena, IncomingArena],
) -> None:
    outgoing, incoming = ends
    size = KEPT_BYTES + 8 * MIB
    places = [put(outgoing, bytes(size)), put(outgoing, b"small")]
    taken = os.fstat(incoming._descriptor).st_blocks * 512
    for place in places:
        outgoing.release(place)

    assert taken >= size
    assert os.fstat(incoming._descriptor).st_blocks * 512 <= KEPT_BYTES


@pytest.mark.parametrize(
    ("start", "size"),
    [(1, 10), (ARENA_BYTES, 10), (ARENA_BYTES - PAGE, PAGE + 1), (0, ARENA_BYTES + 1), (0, 0)],
)
def test_a_range_outside_the_arena_is_refused(
    ends: tuple[OutgoingArena, IncomingArena], start: int, size: int
) -> None:
    """I14: the other end may run a hostile plugin."""
    _, incoming = ends

    with pytest.raises(WireError, match="no range of the arena"):
        incoming.view(start, [size])


def test_what_was_not_lent_cannot_be_given_back(
    ends: tuple[OutgoingArena, IncomingArena],
) -> None:
    outgoing, _ = ends
    start = put(outgoing, b"data")
    outgoing.release(start)

    with pytest.raises(WireError, match="nothing lies"):
        outgoing.release(start)


def test_an_arena_cannot_be_shrunk_under_its_reader(
    ends: tuple[OutgoingArena, IncomingArena],
) -> None:
    """I25: reading what was cut off would end the node by SIGBUS."""
    _, incoming = ends

    with pytest.raises(PermissionError):
        os.ftruncate(incoming._descriptor, PAGE)


def test_without_such_files_there_is_no_arena(monkeypatch: pytest.MonkeyPatch) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])

    def forbidden(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr("fcntl.fcntl", forbidden)
    assert ArenaFiles.make() is None
    monkeypatch.delattr(os, "memfd_create")
    assert ArenaFiles.make() is None
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_without_addresses_for_it_nothing_is_put_into_an_arena(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = ArenaFiles.make()
    assert files is not None

    def none_left(*_: object, **__: object) -> mmap.mmap:
        raise OSError

    monkeypatch.setattr(mmap, "mmap", none_left)
    outgoing, incoming = files.ends_of_agent()

    assert outgoing is None
    with pytest.raises(WireError, match="cannot be mapped"):
        incoming.view(0, [10])
    incoming.close()


def test_a_host_finds_its_arenas_and_hands_them_to_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = ArenaFiles.make()
    assert made is not None
    monkeypatch.setenv(ARENAS_VARIABLE, made.text)
    os.set_inheritable(made.to_host, True)

    found = ArenaFiles.inherited()

    assert found == made
    assert not os.get_inheritable(made.to_host)
    assert ARENAS_VARIABLE not in os.environ
    assert ArenaFiles.inherited() is None
    made.close()
