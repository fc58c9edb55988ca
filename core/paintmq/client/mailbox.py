"""How other threads reach the session's: orders in a queue, and a wake-up."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from attrs import frozen

from paintmq.client.task import Payload
from paintmq.task import TaskRequest
from paintmq.transport.wakeup import Wakeup


@frozen(eq=False)
class Order:
    """What another thread wants done by the session's."""

    run: Callable[[], None]
    fail: Callable[[str], None]
    """Called with the reason if ``run`` raised: its caller must be told."""


class Submission(NamedTuple):
    """The order that a client gives most: to bring a task to its ending."""

    request: TaskRequest
    payloads: tuple[Payload, ...]
    patient: bool


class Mailbox:
    """Any thread puts orders in; the session's thread waits for ``fileno`` and takes them out."""

    def __init__(self) -> None:
        self._orders: deque[Order | Submission] = deque()
        self._wakeup = Wakeup()

    def fileno(self) -> int:
        """Return what becomes readable when there is something to take."""
        return self._wakeup.fileno()

    def put(self, order: Order | Submission) -> None:
        self._orders.append(order)
        self.wake()

    def wake(self) -> None:
        """Wake the session's thread, with or without an order."""
        self._wakeup.set()

    def take(self, *, woken: bool = True) -> deque[Order | Submission]:
        """Return the orders so far, oldest first.

        ``woken``: the wake-up was seen, and is over. Without it, one may be on its way.
        """
        if woken:
            self._wakeup.clear()
        # Those that are put in meanwhile wake the thread again.
        orders, count = self._orders, len(self._orders)
        return deque([orders.popleft() for _ in range(count)])

    def close(self) -> None:
        self._wakeup.close()
