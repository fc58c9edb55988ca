"""What is printed and logged in a model host, marked with the tasks that are run meanwhile.

Everything goes to the descriptors 1 and 2, a pipe to the agent, at once: a process that dies has
said what it said. Below Python nothing is marked; the agent knows what the host was running.
"""

import contextlib
import ctypes
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from attrs import define, field

from paintmq.worker.channel.marked_output import mark_of, pieces
from paintmq.worker.channel.messages import RunItem


@define(eq=False)
class OutputCapture:
    """Knows which tasks are run now. One thread sets them, any thread prints."""

    running: Sequence[RunItem] = ()
    """The attempts that are run; none between two batches."""
    _marked: Sequence[RunItem] | None = field(default=None, init=False)
    _tasks: tuple[str, ...] = field(default=(), init=False)

    def write(self, data: bytes, level: int = 0) -> None:
        """Write words of the tasks that are run now."""
        running = self.running
        if running is not self._marked:
            self._tasks = tuple(item.task_id for item in running)
            self._marked = running
        for piece in pieces(mark_of(self._tasks, level), data):
            while piece:  # a signal may interrupt it
                piece = piece[os.write(2, piece) :]

    def flush(self) -> None:
        """Write what was printed without an end of line: an attempt has ended."""
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (ValueError, OSError, AttributeError):
            pass  # a model has closed it, or put something else there

    def install(self) -> None:
        """Take the place of ``sys.stdout``, ``sys.stderr`` and the root logger's handlers."""
        sys.stdout = _text(_Marked(self, 1))
        sys.stderr = _text(_Marked(self, 2))
        handler = _LogHandler(self)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.handlers = [handler]
        root.setLevel(logging.INFO)
        logging.captureWarnings(capture=True)
        _print_c_lines_at_once()


class _Marked(io.RawIOBase):
    """The bytes of a text stream. Its descriptor is the real one, for children and libraries."""

    def __init__(self, capture: OutputCapture, descriptor: int) -> None:
        self._capture = capture
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any, /) -> int:
        whole = bytes(data)
        self._capture.write(whole)
        return len(whole)


class _LogHandler(logging.Handler):
    """Writes records with their level."""

    def __init__(self, capture: OutputCapture) -> None:
        super().__init__()
        self._capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + "\n"
            self._capture.write(text.encode(errors="replace"), record.levelno)
        except Exception:  # noqa: BLE001 -- an argument that cannot be formatted: logging says so
            self.handleError(record)


def _text(raw: io.RawIOBase) -> io.TextIOWrapper:
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def _print_c_lines_at_once() -> None:
    """Have the C library's standard output end each line at once: to a pipe it would wait."""
    by_line = 1
    with contextlib.suppress(OSError, ValueError, AttributeError):
        libc = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
        libc.setvbuf(stdout, None, by_line, ctypes.c_size_t(0))
