"""Identifiers. They are made at the edge and passed in, so that pure modules stay replayable."""

import os
import time
from collections import deque

from paintmq.task import PeerId, TaskId

_RANDOM_BYTES = 10
"""Of a task id."""
_FETCHED = 256
"""Portions that are asked of the system at a time: for a single one it takes ten times as long."""
_portions: deque[bytes] = deque()
if hasattr(os, "register_at_fork"):  # else parent and child would make the same ids
    os.register_at_fork(after_in_child=_portions.clear)


def new_task_id() -> TaskId:
    """Return a UUID version 7 (RFC 9562 section 5.7): sorts by time, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(_random_portion())
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return TaskId(f"{value:032x}")


def _random_portion() -> bytes:
    """Return random bytes that are given out only once, in any thread."""
    try:
        return _portions.popleft()
    except IndexError:
        data = os.urandom(_RANDOM_BYTES * _FETCHED)
        starts = range(_RANDOM_BYTES, len(data), _RANDOM_BYTES)
        _portions.extend(data[start : start + _RANDOM_BYTES] for start in starts)
        return data[:_RANDOM_BYTES]


def new_peer_id() -> PeerId:
    """Return a fresh routing id. Its first byte is not zero, as ZeroMQ demands."""
    return PeerId(b"p" + os.urandom(15))


def new_incarnation() -> int:
    """Return a random number of 63 bits for one run of a broker."""
    return int.from_bytes(os.urandom(8)) >> 1
