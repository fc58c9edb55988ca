"""Notices that a turn of the broker's loop is stuck in a plugin's function, and ends it.

A plugin says what a task needs and chooses what runs next in the loop's own thread: to hand each of
these short calls to another thread would cost more than they do. So the call that does not come
back is interrupted where it is, by an exception that only this module raises; the caller contains
it like any other and does not ask that function again. A call that cannot be interrupted, as it
sleeps, waits for a lock or reads a socket, ends the broker with a reason in the log and
``BrokerServer.failure``: whoever supervises it starts it again, which nobody does for a broker that
merely stands still. C code that keeps the interpreter's lock keeps it from this thread too.
"""

import ctypes
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from types import CodeType, FrameType

from attrs import define, field

from paintmq.broker.scheduling.guarded_router import GuardedRouter
from paintmq.errors import PaintMQError, PluginStuck, printable
from paintmq.plugin.answers import estimate
from paintmq.plugin.manager import PluginManager
from paintmq.plugin.options import parse_options

logger = logging.getLogger(__name__)

LOOKS = 10
"""Looks at the loop within the limit: a process that was stopped for long is charged for one."""
SHOWN_FRAMES = 12
_DOORS: Mapping[CodeType, str] = {
    estimate.__code__: "the model's functions",
    parse_options.__code__: "the options",
    PluginManager.make_router.__code__: "making a router",
} | {
    method.__code__: f"the router's {name}"
    for name, method in vars(GuardedRouter).items()
    if callable(method) and hasattr(method, "__code__")
}
"""Where plugins' code is called in the loop's thread, and what is asked there."""


class BrokerStuckError(PaintMQError):
    """A plugin's function did not return, and could not be interrupted."""


@define(eq=False)
class TurnWatch:
    """Looks at the loop from a thread of its own; what is done ``with`` it is one turn."""

    _limit: float
    """Seconds for which one turn may be in plugins' code."""
    _stuck: Callable[[BrokerStuckError], None]
    """Called in the watching thread when nothing helped."""
    turn: int = field(default=0, init=False)
    """Odd while a turn is going on. Written by the loop alone, once when it begins and ends."""
    _watched: int = field(factory=threading.get_ident, init=False)
    _ended: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _interrupted: int = field(default=-1, init=False)
    """The turn that was last interrupted."""

    def start(self) -> None:
        """Watch the thread that calls this, until another calls ``watch_me``."""
        self._thread = threading.Thread(target=self._run, name="paintmq-turn-watch", daemon=True)
        self._thread.start()

    def watch_me(self) -> None:
        """Watch the calling thread from now on; call it between two turns."""
        self._watched = threading.get_ident()

    def stop(self) -> None:
        """End the watch. Harmless to repeat, and before ``start``."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> None:
        """Begin a turn."""
        self.turn += 1

    def __exit__(self, *_: object) -> None:
        self.turn += 1

    def _run(self) -> None:
        seen, looks = -1, 0
        while not self._ended.wait(self._limit / LOOKS):
            turn = self.turn
            if turn != seen or turn % 2 == 0:
                seen, looks = turn, 0
                continue
            looks += 1
            if looks >= LOOKS:
                looks = 0
                self._overdue(turn)

    def _overdue(self, turn: int) -> None:
        frames = _frames_of(self._watched)
        called = plugin_function(frames)
        stack = "".join(traceback.format_list(_summary(frames[-SHOWN_FRAMES:])))
        if not called:
            logger.warning(
                "a turn of the broker's loop has taken %g s; it is here:\n%s", self._limit, stack
            )
        elif self._interrupted != turn:
            self._interrupted = turn
            reason = f"{called} had not returned after {self._limit:g} s (plugins.call_limit)"
            logger.error("%s, and is interrupted here:\n%s", reason, stack)
            _interrupt(self._watched, reason)
        else:
            error = BrokerStuckError(
                f"{called} does not return and cannot be interrupted; disable its plugin"
                " (plugins.disable) or mend it"
            )
            logger.critical("the broker is stuck: %s\n%s", error, stack)
            self._ended.set()
            self._stuck(error)


def plugin_function(frames: "list[FrameType]") -> str:
    """Return which plugin's function the thread with these frames, outermost first, is in.

    Empty: it is in none.
    """
    door = next((place for place, each in enumerate(frames) if each.f_code in _DOORS), None)
    if door is None:
        return ""
    asked = _DOORS[frames[door].f_code]
    for frame in frames[door + 1 :]:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in ("paintmq", "attr", "attrs") and _has_source(frame):
            return printable(f"{module}.{frame.f_code.co_qualname} ({asked})", 500)
    return asked


def _has_source(frame: FrameType) -> bool:
    """Return whether it is no ``__init__`` that attrs has made of an options class."""
    return not frame.f_code.co_filename.startswith("<attrs generated")


def _frames_of(thread: int) -> "list[FrameType]":
    frame = sys._current_frames().get(thread)
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _summary(frames: "list[FrameType]") -> traceback.StackSummary:
    return traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)


def _interrupt(thread: int, reason: str) -> None:
    """Raise PluginStuck in the thread as soon as it runs Python code.

    Should the function return in the microseconds since it was seen, the exception arrives in the
    broker's own code, which takes it as any other fault there: at worst the broker ends loudly.
    """
    kind = type("PluginStuck", (PluginStuck,), {"reason": reason})
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))
