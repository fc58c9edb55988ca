"""Lets any thread wake a loop that waits for sockets: the one way in which PaintMQ does that."""

import contextlib
import socket


class Wakeup:
    """A socket pair: ``set`` makes ``fileno`` readable until ``clear``.

    The waiting thread must call ``clear`` before it looks for what it was woken for. Then nothing
    is missed: a ``set`` that finds the other one still pending was called before that look.
    """

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.settimeout(0)
        self._write.settimeout(0)
        self._is_set = False

    def fileno(self) -> int:
        return self._read.fileno()

    def set(self) -> None:
        """Wake the loop. Safe from any thread and from a signal handler, also after ``close``."""
        if self._is_set:
            return
        self._is_set = True
        # A full buffer wakes the loop as well as one more byte would; a closed one has no loop.
        with contextlib.suppress(OSError):
            self._write.send(b"\0")

    def clear(self) -> None:
        # One read empties it, as hardly more than a byte is ever in it.
        with contextlib.suppress(BlockingIOError):
            while len(self._read.recv(4096)) == 4096:
                pass
        self._is_set = False

    def close(self) -> None:
        self._read.close()
        self._write.close()
