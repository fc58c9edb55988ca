"""A loop that waits for sockets can be woken, and misses no wake-up."""

import select
import threading
from collections import deque

from paintmq.transport.wakeup import Wakeup


def is_readable(wakeup: Wakeup, seconds: float = 0.0) -> bool:
    return bool(select.select([wakeup], [], [], seconds)[0])


def test_it_is_readable_from_set_to_clear_however_often_it_is_set() -> None:
    wakeup = Wakeup()
    assert not is_readable(wakeup)

    for _ in range(100_000):  # more than a socket's buffer would take
        wakeup.set()
    assert is_readable(wakeup)

    wakeup.clear()
    assert not is_readable(wakeup)
    wakeup.clear()
    wakeup.set()
    assert is_readable(wakeup)
    wakeup.close()
    wakeup.set()  # harmless


def test_nothing_put_before_a_wake_up_is_missed() -> None:
    wakeup, orders, taken = Wakeup(), deque[int](), list[int]()

    def put() -> None:
        for number in range(20_000):
            orders.append(number)
            wakeup.set()

    thread = threading.Thread(target=put)
    thread.start()
    while len(taken) < 20_000:
        assert is_readable(wakeup, 20.0), "an order was put in, and nobody was woken"
        wakeup.clear()
        while orders:
            taken.append(orders.popleft())
    thread.join()

    assert taken == list(range(20_000))
    wakeup.close()
