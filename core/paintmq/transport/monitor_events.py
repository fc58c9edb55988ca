"""What a ZeroMQ socket tells of its connections: the messages of ``zmq_socket_monitor(3)``.

As ``zmq.utils.monitor`` reads them, which imports asyncio first: half of what ``import zmq`` takes,
in every program with a client.
"""

from struct import Struct
from typing import NamedTuple

from paintmq.transport.sockets import Socket

# "The first frame contains an event number (16 bits), and an event value (32 bits) ... in the
# native byte order" -- zmq_socket_monitor(3)
_LAYOUT = Struct("=Hi")


class MonitorEvent(NamedTuple):
    """Something happened to a connection."""

    kind: int
    """One of ``zmq.Event``."""
    value: int
    """Mostly a file descriptor; what else, depends on the kind."""


def receive_event(monitor: Socket) -> MonitorEvent:
    """Wait for the next event of a monitor socket."""
    described, *_ = monitor.recv_multipart()  # the address follows
    return MonitorEvent(*_LAYOUT.unpack_from(described))
