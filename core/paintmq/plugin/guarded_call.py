"""Calling plugins' code in a thread that is left behind if it does not come back.

A thread also tells whose KeyboardInterrupt it is: Ctrl-C arrives in the main thread alone.
What cannot be held off from inside one process: ``os._exit``, a crash, C code that keeps the
interpreter's lock.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import define, field

from paintmq.errors import PluginError, printable, said_by, shown

T = TypeVar("T")


@define
class _Call(Generic[T]):
    """One call and its result or exception."""

    function: Callable[[], T]
    ended: threading.Event = field(factory=threading.Event, init=False)
    value: "list[T]" = field(factory=list, init=False)
    error: BaseException | None = field(default=None, init=False)

    def run(self) -> None:
        try:
            self.value.append(self.function())
        except BaseException as error:  # noqa: BLE001 -- the caller judges it
            self.error = error
        self.ended.set()


class PluginThread:
    """Runs calls one after the other; close it when there are no more for now."""

    def __init__(self, limit: float) -> None:
        """``limit`` is how many seconds one call may take."""
        self._limit = limit
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], T]) -> T:
        """Return what the function returns. Exceptions it raises come out.

        Raises:
            PluginError: it raised what is no Exception, such as SystemExit; or it has not returned
                in time, and may go on for all we know.
        """
        if self._thread is None:
            self._calls = queue.SimpleQueue()
            self._thread = threading.Thread(
                target=_run, args=(self._calls,), name="plugin-loader", daemon=True
            )
            self._thread.start()
        call = _Call(function)
        self._calls.put(call)
        if not call.ended.wait(self._limit):
            self._calls.put(None)  # for the day it returns
            self._thread = None
            raise PluginError(f"it has not finished after {self._limit:g} seconds")
        if isinstance(call.error, Exception):
            raise call.error
        if call.error is not None:
            raise PluginError(describe(call.error)) from call.error
        return call.value[0]

    def close(self) -> None:
        """End the idle thread. A later call starts another."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None


def describe(error: BaseException) -> str:
    """Describe in one line what a plugin did wrong."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({shown(error.code)})"
    text, name = " ".join(said_by(error).split()), printable(type(error).__name__)
    if isinstance(error, PluginError) or text.startswith(name):
        return text
    return f"{name}: {text}".removesuffix(":")


def _run(calls: "queue.SimpleQueue[_Call[Any] | None]") -> None:
    while (call := calls.get()) is not None:
        call.run()
        # Do not keep a call's objects alive while the thread waits for the next.
        del call
