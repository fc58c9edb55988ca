"""Payloads between an agent and its model host in memory that both have mapped.

A large payload over the socket is copied twice by the kernel, in a hundred small portions for which
the two processes wake each other. Here its sender copies it once, into a range of an *arena*, and
names the range; the receiver uses it where it lies. An agent makes two arenas for each host, one
for either way, as files without names: they are gone with the last process that has them, however
it ends. Where the system has no such files, or an arena is full, payloads go over the socket.

Rule 1: a range is used again only when the receiver has no view of it any more, not even one that a
model has kept: the last view that goes says so.
Rule 2: an arena never shrinks (it is sealed), so no process can be ended by reading it.
Rule 3: the receiver maps a range privately. What a model writes into an input, no other sees.
Rule 4: a range that a peer names is checked; both ends are one user on one machine, but one of them
runs plugins.
"""

import contextlib
import mmap
import os
import threading
import weakref
from bisect import insort
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from attrs import define, field, frozen

from paintmq.errors import WireError
from paintmq.task import Buffer
from paintmq.units import MIB

SHARED_FROM = 256 * 1024
"""Bytes of a message's payloads from which the arena is worth it; below, the socket is as fast."""
ARENA_BYTES = 512 * MIB
"""Of each arena, in addresses; memory is only taken by what was written."""
ARENAS_VARIABLE = "PAINTMQ_HOST_ARENAS"
"""Environment variable of a model host: the descriptors of its arenas."""
KEPT_BYTES = 64 * MIB
"""Memory of an arena that is kept while nothing lies in it: fresh memory costs more than a copy."""
_ALIGNMENT = 64
"""Of each payload in its range: for any array, and for the processor's caches."""

Range: TypeAlias = tuple[int, int]
"""Begin and end in the arena."""


@frozen
class ArenaFiles:
    """The files of one host's two arenas: what the agent sends, and what the host sends."""

    to_host: int
    to_agent: int

    @classmethod
    def make(cls) -> "ArenaFiles | None":
        """Make them; None where the system has no such files."""
        made: list[int] = []
        try:
            made.append(_sealed_file("paintmq-to-host"))
            made.append(_sealed_file("paintmq-to-agent"))
        except (AttributeError, ImportError, OSError):  # no Linux, or a system that forbids it
            for descriptor in made:
                os.close(descriptor)
            return None
        return cls(*made)

    @classmethod
    def inherited(cls) -> "ArenaFiles | None":
        """Return those that this process, a model host, was started with."""
        text = os.environ.pop(ARENAS_VARIABLE, "")
        if not text:
            return None
        files = cls(*map(int, text.split(",")))
        for descriptor in files.descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 -- it takes no keyword
        return files

    @property
    def text(self) -> str:
        """Value of ARENAS_VARIABLE."""
        return f"{self.to_host},{self.to_agent}"

    @property
    def descriptors(self) -> tuple[int, int]:
        return self.to_host, self.to_agent

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)

    def ends_of_agent(self) -> "tuple[OutgoingArena | None, IncomingArena]":
        return _outgoing(self.to_host), IncomingArena(self.to_agent)

    def ends_of_host(self) -> "tuple[OutgoingArena | None, IncomingArena]":
        return _outgoing(self.to_agent), IncomingArena(self.to_host)


def _sealed_file(name: str) -> int:
    import fcntl

    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, ARENA_BYTES)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def layout(sizes: Sequence[int]) -> tuple[list[Range], int]:
    """Return where payloads of these sizes lie in their range, and how long that must be."""
    places: list[Range] = []
    end = 0
    for size in sizes:
        begin = -(-end // _ALIGNMENT) * _ALIGNMENT
        end = begin + size
        places.append((begin, end))
    page = mmap.ALLOCATIONGRANULARITY
    return places, -(-end // page) * page


@define(eq=False)
class OutgoingArena:
    """The sender's end. Safe from any thread."""

    _map: mmap.mmap
    _used: list[Range] = field(factory=list[Range], init=False)
    _touched: int = field(default=0, init=False)
    """End of what may hold memory."""
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    @property
    def used_bytes(self) -> int:
        """Bytes of the ranges that the receiver may still read."""
        with self._lock:
            return sum(end - begin for begin, end in self._used)

    def put(self, payloads: Sequence[Sequence[memoryview]]) -> int | None:
        """Copy the payloads, each in one piece or several, into a free range.

        Returns:
            Where it begins; None if none is free.
        """
        places, length = layout([sum(piece.nbytes for piece in each) for each in payloads])
        with self._lock:
            start = self._free_range(length)
            if start is None:
                return None
            insort(self._used, (start, start + length))
            self._touched = max(self._touched, start + length)
        for payload, (begin, _) in zip(payloads, places, strict=True):
            at = start + begin
            for piece in payload:
                self._map[at : at + piece.nbytes] = piece
                at += piece.nbytes
        return start

    def _free_range(self, length: int) -> int | None:
        """Return the first gap that is long enough: memory that was used before costs least."""
        start = 0
        for begin, end in self._used:
            if begin - start >= length:
                break
            start = end
        return start if start + length <= ARENA_BYTES else None

    def release(self, start: int) -> None:
        """Take a range back that the receiver has no view of any more.

        Raises:
            WireError: nothing was put there.
        """
        with self._lock:
            for place, (begin, _) in enumerate(self._used):
                if begin == start:
                    del self._used[place]
                    break
            else:
                raise WireError(f"nothing lies at {start} of the arena")
            if not self._used and self._touched > KEPT_BYTES:
                with contextlib.suppress(OSError):
                    self._map.madvise(mmap.MADV_REMOVE, KEPT_BYTES, self._touched - KEPT_BYTES)
                self._touched = KEPT_BYTES


def _outgoing(descriptor: int) -> OutgoingArena | None:
    """Map the file and close it; None where there is no room for that many addresses."""
    try:
        return OutgoingArena(mmap.mmap(descriptor, ARENA_BYTES))
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


@define(eq=False)
class IncomingArena:
    """The receiver's end."""

    _descriptor: int
    _unused: deque[int] = field(factory=deque[int], init=False)

    def view(self, start: int, sizes: Sequence[int]) -> list[Buffer]:
        """Return the payloads of these sizes that lie in the range from ``start`` on.

        Raises:
            WireError: there is no such range, or no addresses are left to map it.
        """
        places, length = layout(sizes)
        if start % mmap.ALLOCATIONGRANULARITY or not 0 < length <= ARENA_BYTES - start:
            raise WireError(f"{length} bytes from {start} on are no range of the arena")
        try:
            mapped = mmap.mmap(
                self._descriptor,
                length,
                flags=mmap.MAP_PRIVATE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
                offset=start,
            )
        except OSError as error:
            raise WireError(f"a range of the arena cannot be mapped: {error.strerror}") from error
        # Called by whichever thread drops the last view: it must take no lock.
        weakref.finalize(mapped, self._unused.append, start).atexit = False
        whole = memoryview(mapped).toreadonly()
        return [whole[begin:end] for begin, end in places]

    def close(self) -> None:
        """Map nothing more; what is in use stays."""
        os.close(self._descriptor)

    def unused(self) -> list[int]:
        """Return the ranges of which the last view is gone, each once: tell the sender."""
        starts = []
        while self._unused:
            starts.append(self._unused.popleft())
        return starts
