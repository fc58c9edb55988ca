"""Back-pressure: how much a client may have unfinished before ``submit`` waits."""

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
    tasks: int = field(default=0, init=False)
    bytes: int = field(default=0, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _waiting: deque[tuple[int, "Future[None]"]] = field(
        factory=deque[tuple[int, "Future[None]"]], init=False
    )

    def enter(self, size: int) -> "Future[None]":
        """Return a future that is done once there is room; until then it may be cancelled.

        A task larger than the whole window is let in when nothing else is unfinished.
        """
        granted: Future[None] = Future()
        with self._lock:
            self._waiting.append((size, granted))
            self._admit()
        return granted

    def force(self, size: int) -> None:
        """Count a task, whether there is room or not."""
        with self._lock:
            self.tasks += 1
            self.bytes += size

    def leave(self, size: int) -> None:
        with self._lock:
            self.tasks -= 1
            self.bytes -= size
            self._admit()

    def give_up(self, error: Exception) -> None:
        """Fail every caller that still waits for room."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for _, granted in waiting:
            if granted.set_running_or_notify_cancel():
                granted.set_exception(error)

    def _admit(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            size, granted = self._waiting.popleft()
            if granted.set_running_or_notify_cancel():
                self.tasks += 1
                self.bytes += size
                granted.set_result(None)

    def _has_room(self, size: int) -> bool:
        if self.tasks == 0:
            return True
        return self.tasks < self.limits.tasks and self.bytes + size <= self.limits.bytes
