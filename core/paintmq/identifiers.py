"""Identifiers. They are made at the edge and passed in, so that pure modules stay replayable."""

import os
import time

from paintmq.task import PeerId, TaskId


def new_task_id() -> TaskId:
    """Return a UUID version 7 (RFC 9562 section 5.7): sorts by time, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return TaskId(f"{value:032x}")


def new_peer_id() -> PeerId:
    """Return a fresh routing id. Its first byte is not zero, as ZeroMQ demands."""
    return PeerId(b"p" + os.urandom(15))


def new_incarnation() -> int:
    """Return a random number of 63 bits for one run of a broker."""
    return int.from_bytes(os.urandom(8)) >> 1
