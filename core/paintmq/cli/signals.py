"""Signals as something to wait for or to poll, so that a command stops in order.

Never KeyboardInterrupt, which can get lost: Python drops what is raised while a finaliser or a
callback of C code runs, and then nothing ever stops.
"""

import os
import queue
import signal
import time
from types import FrameType, TracebackType
from typing import Self

_STOP = (signal.SIGTERM, signal.SIGINT)

_A_SLEEP = 1.0
"""Seconds by which two clocks may differ without the machine having slept."""


class Signals:
    """Takes over SIGTERM, SIGINT and SIGHUP for the length of a ``with`` block, in the main thread.

    After the first signal to stop, a second one ends the process at once: what must not be lost is
    in the journal, and no model host outlives its node.

    SIGHUP asks for a reload, unless it came since the terminal was closed: then it asks to stop.
    """

    def __init__(self) -> None:
        # SimpleQueue.put may be called by a handler while the same thread waits in get.
        self._arrived: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
        self._before: dict[signal.Signals, object] = {}
        self._has_terminal = False
        self.terminal_closed = False
        """Whether that is what asked to stop."""

    def __enter__(self) -> Self:
        # What ``nohup`` started goes on without its terminal.
        self._has_terminal = not _is_ignored(signal.SIGHUP) and _is_terminal_there()
        for number in (*_STOP, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _restore(self._before)

    def wait(self) -> signal.Signals:
        """Return the next signal: SIGHUP asks for a reload, any other to stop."""
        arrived = self._arrived.get()
        if arrived in _STOP:
            _let_the_next_one_kill()
        return arrived

    def wait_at_most(self, seconds: float) -> signal.Signals | None:
        """Return the next signal, or None if none arrives in time."""
        try:
            arrived = self._arrived.get(timeout=seconds)
        except queue.Empty:
            return None
        if arrived in _STOP:
            _let_the_next_one_kill()
        return arrived

    def ask_to_stop(self) -> None:
        """Act as if SIGTERM had arrived, from any thread; a second SIGTERM ends the process."""
        self._arrived.put(signal.SIGTERM)

    def _handle(self, number: int, _: FrameType | None) -> None:
        arrived = signal.Signals(number)
        if arrived == signal.SIGHUP and self._has_terminal and not _is_terminal_there():
            self.terminal_closed, arrived = True, signal.SIGTERM
        self._arrived.put(arrived)


class StopFlag:
    """Records SIGTERM, SIGINT and SIGHUP for the length of a ``with`` block, in the main thread.

    For a command that does its work in steps and looks between two of them. A second signal ends
    the process at once. A signal that is ignored, as ``nohup`` has it, stays ignored.
    """

    def __init__(self) -> None:
        self.arrived: signal.Signals | None = None
        self._continued = 0
        self._asleep = _seconds_asleep()
        self._before: dict[signal.Signals, object] = {}

    @property
    def suspensions(self) -> int:
        """How often this process, or the whole machine, has stood still: Ctrl-Z, a closed lid."""
        asleep = _seconds_asleep()
        if asleep > self._asleep + _A_SLEEP:
            self._asleep = asleep
            self._continued += 1
        return self._continued

    def __enter__(self) -> Self:
        wanted = [number for number in (*_STOP, signal.SIGHUP) if not _is_ignored(number)]
        self._before = {number: signal.signal(number, self._handle) for number in wanted}
        self._before[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._handle_continued)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _restore(self._before)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.arrived = signal.Signals(number)
        _let_the_next_one_kill()

    def _handle_continued(self, number: int, _: FrameType | None) -> None:
        self._continued += 1


def _is_terminal_there() -> bool:
    """Return whether this process has a terminal that controls it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


def _seconds_asleep() -> float:
    """Return for how long the machine has slept since it was started, where the system tells."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def _let_the_next_one_kill() -> None:
    # The system spares the first process of a container what a signal does by default.
    action = _exit_at_once if os.getpid() == 1 else signal.SIG_DFL
    for number in _STOP:
        signal.signal(number, action)


def _exit_at_once(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _restore(handlers: dict[signal.Signals, object]) -> None:
    while handlers:
        number, handler = handlers.popitem()
        signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us
