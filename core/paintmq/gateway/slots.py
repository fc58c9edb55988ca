"""Places for requests at a time, shared fairly: who finds none waits in a line of its own.

Rule 1: lines are served in turn, so a caller with a thousand requests delays another's by one.
Rule 2: nobody holds all places, however slowly its requests come in, unless there are but three.
Rule 3: what waits for a result holds no place, only a connection; those are counted apart.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field

from paintmq.gateway.refusal import RefusedRequestError

LINE_SECONDS = 10.0
"""A request waits for its place at most so long before it is told to come later."""
LINE = 256
"""Requests of one caller that may wait for a place."""
MAX_WAITING = 4096
"""Requests and WebSockets that only wait. They hold a connection and little else."""
MAX_WAITING_EACH = 2048
"""Those of one caller."""


@define(eq=False)
class FairSlots:
    """The places, and who holds them."""

    most: int
    serving: int = field(default=0, init=False)
    waiting: int = field(default=0, init=False)
    _held: dict[str, int] = field(factory=dict[str, int], init=False)
    _waiting: dict[str, int] = field(factory=dict[str, int], init=False)
    _lines: "OrderedDict[str, deque[asyncio.Future[None]]]" = field(factory=OrderedDict, init=False)

    async def take(self, name: str) -> "Slot":
        """Return a place, once there is one.

        Raises:
            RefusedRequestError: there is none in time, or the caller's line is full.
        """
        if not self._lines.get(name) and self._may_take(name):
            self._hold(name)
            return Slot(self, name)
        line = self._lines.setdefault(name, deque())
        if len(line) >= LINE:
            raise _busy("too many of your requests wait for a place")
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(LINE_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release(name)
            else:
                self._leave(name, turn)
            if isinstance(error, TimeoutError):
                raise _busy("too many requests at once") from None
            raise
        return Slot(self, name)

    def _may_take(self, name: str) -> bool:
        share = self.most - self.most // 4
        return self.serving < self.most and self._held.get(name, 0) < share

    def _hold(self, name: str) -> None:
        self.serving += 1
        self._held[name] = self._held.get(name, 0) + 1

    def _release(self, name: str) -> None:
        self.serving -= 1
        _count(self._held, name, -1)
        self._admit()

    def _admit(self) -> None:
        """Give free places to the lines in turn."""
        while (name := self._next()) is not None:
            line = self._lines[name]
            turn = line.popleft()
            if line:
                self._lines.move_to_end(name)
            else:
                del self._lines[name]
            if not turn.done():
                self._hold(name)
                turn.set_result(None)

    def _next(self) -> str | None:
        """Return whose turn it is; None: no place is free, or nobody waits who may take it."""
        return next((name for name in self._lines if self._may_take(name)), None)

    def _leave(self, name: str, turn: "asyncio.Future[None]") -> None:
        line = self._lines.get(name)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[name]

    @contextmanager
    def waits(self, name: str) -> Iterator[None]:
        """Count something that only waits.

        Raises:
            RefusedRequestError: too much waits already.
        """
        if self.waiting >= MAX_WAITING or self._waiting.get(name, 0) >= MAX_WAITING_EACH:
            raise RefusedRequestError(429, "busy", "too many requests wait", **{"retry-after": "5"})
        self.waiting += 1
        _count(self._waiting, name, +1)
        try:
            yield
        finally:
            self.waiting -= 1
            _count(self._waiting, name, -1)


@define(eq=False)
class Slot:
    """The place of one request among those that are served."""

    _slots: FairSlots
    _name: str
    when_waiting: Callable[[], None] = field(default=lambda: None, init=False)
    """Lets go of what the request's body took: what came of it is the broker's by then."""
    _is_held: bool = field(default=True, init=False)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Give up the place, and the body's room, while the request only waits.

        Raises:
            RefusedRequestError: too many wait already.
        """
        with self._slots.waits(self._name):
            self.release()
            self.when_waiting()
            yield
        # Its answer is short work: it takes a place again without a line, even beyond the limit.
        self._slots._hold(self._name)
        self._is_held = True

    def release(self) -> None:
        """Give the place back; harmless to repeat."""
        if self._is_held:
            self._is_held = False
            self._slots._release(self._name)


def _busy(message: str) -> RefusedRequestError:
    return RefusedRequestError(429, "busy", message, **{"retry-after": "1"})


def _count(counts: dict[str, int], name: str, change: int) -> None:
    counts[name] = counts.get(name, 0) + change
    if not counts[name]:
        del counts[name]
