"""Places in an arena are used again only when nothing views them, and never overlap."""

import random
import resource
from itertools import pairwise

import numpy as np
import pytest
from tests.harness.forked_child import forked_child

from paintmq.errors import WireError
from paintmq.shared_memory import ranges as module
from paintmq.shared_memory.memory_file import MemoryFile, make_file
from paintmq.shared_memory.ranges import (
    KEPT_BYTES,
    MOST_PLACES,
    Ranges,
    Taken,
    place_of,
    view_of,
    view_or_copy,
)
from paintmq.shared_memory.reference import HEADER_BYTES, PAGE, Reference, header

SIZE = 64 * PAGE


@pytest.fixture
def file() -> MemoryFile:
    made = make_file(SIZE)
    assert made is not None
    return made


def test_ranges_in_use_never_overlap_and_all_come_back(file: MemoryFile) -> None:
    rng, ranges = random.Random(1), Ranges(file, PAGE, SIZE)
    held: list[Taken] = []
    for _ in range(1_000):
        if held and rng.random() < 0.5:
            held.pop(rng.randrange(len(held)))
        elif (taken := ranges.take(PAGE * rng.randint(1, 9))) is not None:
            held.append(taken)
        taken = None  # it would hold its range
        spans = sorted((each.offset, each.offset + each.bytes) for each in held)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
        assert spans == [] or (spans[0][0] >= PAGE and spans[-1][1] <= SIZE)
        assert ranges.used_bytes == sum(end - begin for begin, end in spans)

    held.clear()

    assert ranges.used_bytes == 0
    assert ranges.take(SIZE - PAGE) is not None


def test_a_place_stays_in_use_as_long_as_an_array_lies_in_it(file: MemoryFile) -> None:
    ranges = Ranges(file, PAGE, SIZE)
    taken = ranges.take(2 * PAGE)
    assert taken is not None
    reference = Reference(file.where, taken.offset, taken.fence)
    view = view_of(file, reference, 5_000, held=taken)
    row = np.frombuffer(view, np.uint8).reshape(100, 50)[3]

    del view, taken
    assert ranges.used_bytes == 2 * PAGE
    del row

    assert ranges.used_bytes == 0


def test_what_a_forked_child_drops_stays_in_use(file: MemoryFile) -> None:
    """The child has a copy of everything that holds a place, and its end is none of a view's."""
    ranges = Ranges(file, PAGE, SIZE)
    held = [ranges.take(PAGE)]
    given_back = ranges._given_back

    def drop() -> None:
        held.clear()
        assert not given_back

    with forked_child(drop):
        assert ranges.used_bytes == PAGE
    held.clear()

    assert ranges.used_bytes == 0


def test_each_use_has_another_fence_and_an_earlier_view_sees_that(file: MemoryFile) -> None:
    ranges = Ranges(file, PAGE, SIZE)
    views = []
    for _ in range(2):
        taken = ranges.take(PAGE)
        assert taken is not None
        file.whole()[taken.offset : taken.offset + 24] = header(taken.fence, 7)
        views.append(view_of(file, Reference(file.where, taken.offset, taken.fence), 7))
        del taken  # too early: a view is left

    first, second = (place_of(view) for view in views)
    assert first is not None
    assert second is not None
    assert first.reference.offset == second.reference.offset
    assert (first.is_as_written, second.is_as_written) == (False, True)


def test_what_a_reader_writes_no_other_sees(file: MemoryFile) -> None:
    file.whole()[PAGE + HEADER_BYTES : PAGE + HEADER_BYTES + 5] = b"input"
    reference = Reference(file.where, PAGE, 1)
    ours = view_of(file, reference, 5, private=True)
    place = place_of(ours)
    assert place is not None

    place[HEADER_BYTES : HEADER_BYTES + 5] = b"spoilt"[:5]

    assert bytes(ours) == b"spoil"
    assert bytes(view_of(file, reference, 5, private=True)) == b"input"


@pytest.mark.parametrize("offset", [0, 1, PAGE + 1, SIZE, SIZE - PAGE, 2**63])
def test_what_is_no_place_is_refused(file: MemoryFile, offset: int) -> None:
    with pytest.raises(WireError, match="no place"):
        view_of(file, Reference(file.where, offset, 1), PAGE)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_what_the_system_does_not_map_is_not_counted_as_mapped(
    file: MemoryFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors used up: the payload is copied instead, and the limit stays what it is."""
    reference = Reference(file.where, PAGE, 1)
    kept = [view_of(file, reference, 100)]
    before = len(module._mapped)
    monkeypatch.setattr(module, "most_places", lambda: MOST_PLACES)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
    try:
        with pytest.raises(WireError, match="cannot be mapped: Too many open files"):
            view_of(file, reference, 100)
        copied = view_or_copy(file, reference, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert place_of(copied) is None
    assert len(module._mapped) == before
    kept.clear()
    assert len(module._mapped) == before - 1


def test_memory_goes_back_to_the_system_when_nothing_lies_there() -> None:
    file = make_file(2 * KEPT_BYTES)
    assert file is not None
    ranges = Ranges(file, 0, 2 * KEPT_BYTES)
    taken = ranges.take(2 * KEPT_BYTES)
    file.whole()[-1:] = b"x"
    file.whole()[:1] = b"x"
    ranges.tidy()
    assert file.whole()[-1:] == b"x"

    del taken
    ranges.tidy()

    assert (file.whole()[-1:], file.whole()[:1]) == (b"\0", b"x")
