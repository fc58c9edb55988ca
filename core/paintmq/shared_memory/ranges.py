"""Places in an arena: which are free, and the objects that hold one as long as it is viewed."""

import mmap
import os
import resource
import threading
from bisect import insort
from collections import deque

from attrs import define, field

from paintmq.errors import WireError
from paintmq.shared_memory.memory_file import MemoryFile
from paintmq.shared_memory.reference import (
    HEADER_BYTES,
    PAGE,
    Reference,
    has_header,
    place_bytes,
)
from paintmq.task import Buffer
from paintmq.units import MIB

KEPT_BYTES = 64 * MIB
"""Memory that is kept while nothing lies there: fresh memory costs more than a copy."""

MOST_PLACES = 4_096
"""Mapped by a process at a time, and at most a quarter of the files it may open: Python keeps a
descriptor with each mapping, and a program that keeps thousands of results needs its own too."""
MOST_RANGES = 4_096
"""In use of an arena at a time: finding a gap looks at each of them."""

_mapped: list[None] = []
"""One for each place that is mapped; a list, as finalizers may run in any thread at any time."""


class Place(mmap.mmap):
    """The mapping of one place. What refers to it, such as an array, keeps the place in use.

    A view of it leads back here: ``memoryview.obj``.
    """

    reference: Reference
    file: MemoryFile
    payload_bytes: int
    held: object = None
    """Kept as long as this is viewed: what gives the place back when it goes."""
    is_counted: bool = False
    """Among ``_mapped``: what the system refused to map is not, and goes all the same."""

    @property
    def is_as_written(self) -> bool:
        """Whether it holds what it was mapped for: its fence is still in front of it."""
        return has_header(self[:HEADER_BYTES], self.reference.fence, self.payload_bytes)

    def __del__(self) -> None:
        if self.is_counted:
            _mapped.pop()


def place_of(payload: object) -> Place | None:
    """Return the place a payload lies in; None if it is in no arena."""
    if not isinstance(payload, memoryview):
        return None
    owner = payload.obj
    return owner if isinstance(owner, Place) else None


def quick_view(payload: Buffer) -> memoryview:
    """Return the same bytes to be read just now: where the whole arena is mapped, if they lie in
    one. Its pages are in place already, which costs more than reading them.
    """
    view = memoryview(payload).cast("B")
    place = place_of(payload)
    if place is None or view.nbytes != place.payload_bytes:
        return view
    try:
        whole = memoryview(place.file.whole()).toreadonly()
    except (OSError, ValueError):  # no addresses are left for it
        return view
    begin = place.reference.offset + HEADER_BYTES
    return whole[begin : begin + view.nbytes]


def view_of(
    file: MemoryFile,
    reference: Reference,
    size: int,
    *,
    private: bool = False,
    held: object = None,
) -> Buffer:
    """Return the payload of this size at a place; nothing of it is read or copied.

    ``private``: whoever writes to it, on purpose or not, writes to a copy of its own.

    Raises:
        WireError: there is no such place, or the system maps no more.
    """
    length = place_bytes(size)
    if reference.offset % mmap.PAGESIZE or not 0 < reference.offset <= file.size - length:
        raise WireError(f"{size} bytes at {reference.offset} are no place in an arena")
    flags = mmap.MAP_PRIVATE if private else mmap.MAP_SHARED
    access = mmap.PROT_READ | (mmap.PROT_WRITE if private else 0)
    if len(_mapped) >= most_places():
        raise WireError(f"a place in an arena cannot be mapped: {len(_mapped)} are mapped already")
    try:
        place = Place(file.descriptor, length, flags=flags, prot=access, offset=reference.offset)
    except OSError as error:
        raise WireError(f"a place in an arena cannot be mapped: {error.strerror}") from error
    _mapped.append(None)
    place.is_counted = True
    place.reference, place.file, place.payload_bytes = reference, file, size
    place.held = held
    return memoryview(place).toreadonly()[HEADER_BYTES : HEADER_BYTES + size]


def view_or_copy(
    file: MemoryFile,
    reference: Reference,
    size: int,
    *,
    private: bool = False,
    held: object = None,
) -> Buffer:
    """Return the payload as ``view_of`` does, or a copy where this process can map no more.

    A copy does not keep the place in use.

    Raises:
        WireError: there is no such place.
    """
    try:
        return view_of(file, reference, size, private=private, held=held)
    except WireError:
        begin = reference.offset + HEADER_BYTES
        if reference.offset % PAGE or not 0 < reference.offset <= file.size - place_bytes(size):
            raise
        return os.pread(file.descriptor, size, begin)


def most_places() -> int:
    """Return how many places this process may map at a time."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_PLACES if files == resource.RLIM_INFINITY else min(MOST_PLACES, files // 4)


@define(eq=False)
class Ranges:
    """Which parts of an arena are in use. Safe from any thread."""

    file: MemoryFile
    _begin: int
    _end: int
    _used: list[tuple[int, int]] = field(factory=list[tuple[int, int]], init=False)
    _given_back: deque[tuple[int, int]] = field(factory=deque[tuple[int, int]], init=False)
    """Filled by finalizers, which may run in the middle of anything, and so take no lock."""
    _touched: int = field(init=False)
    """End of what may hold memory."""
    _fence: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._touched = self._begin

    @property
    def used_bytes(self) -> int:
        with self._lock:
            self._take_back()
            return sum(end - begin for begin, end in self._used)

    def take(self, length: int) -> "Taken | None":
        """Take the first gap that is long enough, as memory that was used before costs least.

        Returns:
            What holds it; None where there is none.
        """
        with self._lock:
            self._take_back()
            if len(self._used) >= MOST_RANGES:
                return None
            start = self._begin
            for begin, end in self._used:
                if begin - start >= length:
                    break
                start = end
            if start + length > self._end:
                return None
            insort(self._used, (start, start + length))
            self._touched = max(self._touched, start + length)
            self._fence += 1
            return Taken(start, length, self._fence, self._given_back, os.getpid())

    def tidy(self) -> None:
        """Give memory back to the system if nothing lies here any more, all but a little."""
        with self._lock:
            self._take_back()
            kept = self._begin + KEPT_BYTES
            if not self._used and self._touched > kept:
                self.file.give_back(kept, self._touched - kept)
                self._touched = kept

    def _take_back(self) -> None:
        while self._given_back:
            self._used.remove(self._given_back.popleft())


@define(eq=False)
class Taken:
    """Holds a range until it goes itself."""

    offset: int
    bytes: int
    fence: int
    _to: deque[tuple[int, int]]
    _process: int

    def __del__(self) -> None:
        if self._process == os.getpid():  # not in a child that forked: its copy holds nothing
            self._to.append((self.offset, self.offset + self.bytes))
