"""Signals as something to wait for, so that a service stops in order and not in mid-sentence."""

import queue
import signal
from types import FrameType, TracebackType
from typing import Self

_STOP = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Takes over SIGTERM, SIGINT and SIGHUP for the length of a ``with`` block, in the main thread.

    After the first signal to stop the ordinary handlers are back: a second one does not wait.
    """

    def __init__(self) -> None:
        # SimpleQueue.put may be called by a handler while the same thread waits in get.
        self._arrived: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (*_STOP, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def wait(self) -> signal.Signals:
        """Return the next signal: SIGHUP asks for a reload, any other to stop."""
        arrived = self._arrived.get()
        if arrived in _STOP:
            self._restore()
        return arrived

    def wait_at_most(self, seconds: float) -> signal.Signals | None:
        """Return the next signal, or None if there is none for so long."""
        try:
            arrived = self._arrived.get(timeout=seconds)
        except queue.Empty:
            return None
        if arrived in _STOP:
            self._restore()
        return arrived

    def ask_to_stop(self) -> None:
        """Do as if SIGTERM had come. Safe from any thread; a second SIGTERM still does not wait."""
        self._arrived.put(signal.SIGTERM)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._arrived.put(signal.Signals(number))

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us
