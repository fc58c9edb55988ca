"""Sockets that a forked child must not keep: its parent's ports, and the connections to them.

libzmq's sockets are of no use in a child, which has none of its threads; but a port stays taken,
and a peer does not notice that the broker is gone, until every process that shares them has ended.
"""

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from weakref import WeakKeyDictionary

import zmq

_OPEN_FILES = Path("/dev/fd")

_ports: "WeakKeyDictionary[zmq.Socket[bytes], int]" = WeakKeyDictionary()


def belongs_to_parent(bound: "zmq.Socket[bytes]", port: int) -> None:
    """Record that the socket listens on this TCP port: children that are forked leave it."""
    _ports[bound] = port


def _leave_in_child() -> None:
    ports = {port for bound, port in _ports.items() if not bound.closed}
    if not ports:
        return
    for descriptor in _descriptors():
        with suppress(OSError):
            if _local_port(descriptor) in ports:
                os.close(descriptor)
    _ports.clear()


def _descriptors() -> list[int]:
    try:
        return [int(path.name) for path in _OPEN_FILES.iterdir()]
    except OSError:  # a system that does not list them
        return []


def _local_port(descriptor: int) -> int:
    """Return the TCP port at our end; 0 for anything that has none."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return 0
    borrowed = socket.socket(fileno=descriptor)
    try:
        inet = borrowed.family in (socket.AF_INET, socket.AF_INET6)
        return int(borrowed.getsockname()[1]) if inet else 0
    finally:
        borrowed.detach()


os.register_at_fork(after_in_child=_leave_in_child)
