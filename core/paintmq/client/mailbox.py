"""How other threads reach the session's: orders in a queue, and a byte that wakes it up."""

import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

Order: TypeAlias = Callable[[], None]


class Mailbox:
    """Any thread puts orders in; the session's thread waits for ``fileno`` and takes them out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: deque[Order] = deque()
        self._is_awake = False
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.settimeout(0)

    def fileno(self) -> int:
        """Return what becomes readable when there is something to take."""
        return self._woken.fileno()

    def put(self, order: Order) -> None:
        with self._lock:
            self._orders.append(order)
        self.wake()

    def wake(self) -> None:
        """Wake the session's thread, with or without an order."""
        with self._lock:
            if self._is_awake:
                return
            self._is_awake = True
        # Full: a wake-up is pending already. Closed: the thread has ended.
        with suppress(OSError):
            self._waker.send(b"!")

    def take(self) -> deque[Order]:
        """Return the orders so far, oldest first."""
        with suppress(BlockingIOError):
            self._woken.recv(64)
        with self._lock:
            self._is_awake = False
            orders, self._orders = self._orders, deque()
        return orders

    def close(self) -> None:
        self._woken.close()
        self._waker.close()
