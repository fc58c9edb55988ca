"""Back-pressure: how much a client may have unfinished before ``submit`` waits.

Rule 1: a place is given back exactly once, whatever interrupts its holder: a Ctrl-C, a timeout or a
cancelled coroutine costs no room.
Rule 2: places are given in order of arrival, and giving one up lets those behind it move up.
"""

import threading
from collections import deque
from concurrent.futures import Future

from attrs import define, field, frozen

from paintmq.units import MIB


@frozen(kw_only=True)
class WindowLimits:
    """Tasks and bytes of input that may be unfinished at a time before ``submit`` waits."""

    tasks: int = 1_000
    bytes: int = 256 * MIB


@define(eq=False)
class Window:
    """Unfinished tasks and bytes with a limit each; what does not fit waits in order of arrival."""

    limits: WindowLimits = field(factory=WindowLimits)
    bytes: int = field(default=0, init=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False)
    _inside: dict["Place", None] = field(factory=dict["Place", None], init=False)
    _waiting: deque["Place"] = field(factory=deque["Place"], init=False)

    @property
    def tasks(self) -> int:
        return len(self._inside)

    def place(self, size: int) -> "Place":
        """Return a place for one task of that size, which has no room yet."""
        return Place(self, size)

    def give_up(self, error: Exception) -> None:
        """Fail every caller that still waits for room."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for place in waiting:
            granted = place.granted
            if granted is not None and granted.set_running_or_notify_cancel():
                granted.set_exception(error)

    def _enter(self, place: "Place") -> "Future[None] | None":
        with self._lock:
            if place.granted is None and not self._waiting and self._has_room(place.size):
                self._let_in(place)
                return None
            place.granted = place.granted or Future()
            self._waiting.append(place)
            self._admit()
            return place.granted

    def _force(self, place: "Place") -> None:
        with self._lock:
            self._let_in(place)

    def _remove(self, place: "Place") -> None:
        with self._lock:
            if place in self._inside:
                del self._inside[place]
                # Never trust a sum that an interrupt may have missed longer than need be.
                self.bytes = self.bytes - place.size if self._inside else 0
            elif place in self._waiting:
                self._waiting.remove(place)
            if place.granted is not None:
                place.granted.cancel()
            if self._waiting:
                self._admit()

    # An interrupt may come between any two steps here: each is safe to repeat by the next caller.

    def _admit(self) -> None:
        while self._waiting:
            place = self._waiting[0]
            if place not in self._inside and not self._has_room(place.size):
                return
            self._let_in(place)
            self._waiting.popleft()

    def _let_in(self, place: "Place") -> None:
        granted = place.granted
        if granted is not None and (
            granted.done() or not (granted.running() or granted.set_running_or_notify_cancel())
        ):
            return
        if place not in self._inside:
            self._inside[place] = None
            self.bytes += place.size
        if granted is not None:
            granted.set_result(None)

    def _has_room(self, size: int) -> bool:
        if not self._inside:
            return True
        return self.tasks < self.limits.tasks and self.bytes + size <= self.limits.bytes


@define(eq=False)
class Place:
    """Room for one task: asked for, perhaps waited for, and given back."""

    window: Window = field(repr=False)
    size: int
    granted: "Future[None] | None" = field(default=None, init=False)
    """Done once there is room; None while nothing had to wait for it."""

    @property
    def is_inside(self) -> bool:
        """Whether there is room for the task now."""
        return self in self.window._inside

    def ask_for(self) -> "Future[None] | None":
        """Take the room if there is any; else join the line, and return what is done once there is.

        A task larger than the whole window is let in when nothing else is unfinished.
        """
        return self.window._enter(self)

    def take(self) -> None:
        """Count the task, whether there is room or not."""
        self.window._force(self)

    def give_back(self) -> None:
        """Give the room back, or stop waiting for it; harmless to repeat or to call early."""
        self.window._remove(self)
