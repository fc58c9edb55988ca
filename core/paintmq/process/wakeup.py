"""Lets any thread interrupt the loop's poll."""

import contextlib
import socket


class Wakeup:
    """A socket pair: ``set`` makes the reading end readable until ``clear``."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.settimeout(0)
        self._write.settimeout(0)

    def fileno(self) -> int:
        return self._read.fileno()

    def set(self) -> None:
        """Wake the loop. Safe from any thread and from a signal handler, also after ``close``."""
        # A full buffer wakes the loop as well as one more byte would; a closed one has no loop.
        with contextlib.suppress(OSError):
            self._write.send(b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._read.recv(4096):
                pass

    def close(self) -> None:
        self._read.close()
        self._write.close()
