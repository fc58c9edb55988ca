"""Deadlines by key: which are due, and when the next one falls due."""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from attrs import define, field

Key = TypeVar("Key", bound=Hashable)

SLACK = 64
"""Number of dead heap entries below which rebuilding the heap is not worth it."""


@define
class Deadlines(Generic[Key]):
    """A heap of deadlines in which postponing one is free.

    Heartbeats postpone a lease's deadline every few seconds. So the new time is only stored in a
    dictionary; the heap entry stays where it is and is corrected when it reaches the top. Dead
    entries are removed once they outnumber the live ones: without that, a deadline a day ahead that
    is met within a second would occupy the heap for a day.
    """

    _when: dict[Key, float] = field(factory=dict[Key, float], init=False)
    # Invariant: every key in _when has exactly one live heap entry, whose time is not later than
    # the key's deadline and which is in _live. Other entries are dead.
    _heap: list[tuple[float, int, Key]] = field(factory=list[tuple[float, int, Key]], init=False)
    _live: dict[Key, tuple[float, int, Key]] = field(
        factory=dict[Key, tuple[float, int, Key]], init=False
    )
    _count: int = field(default=0, init=False)

    def set(self, key: Key, when: float) -> None:
        """Set the deadline of ``key``, replacing any it had."""
        self._when[key] = when
        live = self._live.get(key)
        if live is None or when < live[0]:
            self._push(key, when)

    def discard(self, key: Key) -> None:
        self._when.pop(key, None)
        self._live.pop(key, None)

    def get(self, key: Key) -> float | None:
        return self._when.get(key)

    def next(self) -> float | None:
        """Return the earliest deadline; at exactly that time ``pop_due`` yields its key."""
        if not self._heap:
            return None
        self._settle()
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> Iterator[Key]:
        """Yield the keys whose deadline is not after ``now``, earliest first.

        Each key is removed before it is yielded, so acting on one may discard or set others.
        """
        while True:
            self._settle()
            if not self._heap or self._heap[0][0] > now:
                return
            _, _, key = heapq.heappop(self._heap)
            self.discard(key)
            yield key

    def __iter__(self) -> Iterator[Key]:
        return iter(self._when)

    def __contains__(self, key: object) -> bool:
        return key in self._when

    def __len__(self) -> int:
        return len(self._when)

    def _push(self, key: Key, when: float) -> None:
        self._count += 1  # ties are broken by age, so that a run can be replayed
        self._live[key] = entry = (when, self._count, key)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._live) + SLACK:
            self._heap = list(self._live.values())
            heapq.heapify(self._heap)

    def _settle(self) -> None:
        """Bring a live entry with the right time to the top of the heap."""
        while self._heap:
            entry = self._heap[0]
            key = entry[2]
            if self._live.get(key) is not entry:
                heapq.heappop(self._heap)
            elif (when := self._when[key]) != entry[0]:
                heapq.heappop(self._heap)
                self._push(key, when)
            else:
                return
