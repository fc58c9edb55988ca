"""Cuts connections that send what is no whole message: ZeroMQ holds it for them without a bound.

A frame has a greatest size, a message in frames has none, and nobody sees it before its end. So the
kernel is asked how much came over each connection, and ZeroMQ which of them a message came from.
Works where the kernel tells (Linux); elsewhere nothing is cut.
"""

import logging
import os
import socket as socketlib
import struct
from math import inf

import zmq
from attrs import define
from zmq.utils.monitor import recv_monitor_message

from paintmq.transport.sockets import Socket

logger = logging.getLogger(__name__)

MOST_BYTES = 32 * 1024 * 1024
"""Without a whole message between. A message of ours has 3 MiB at most, but the kernel may hold so
many (``net.ipv4.tcp_rmem``) while ZeroMQ finds no time to read them."""
SILENCE = 30.0
"""Seconds in which a connection to a ROUTER must have said something."""
PATIENCE = 5.0
"""Seconds until somebody who sends too much is cut although the socket was never read empty."""
_BYTES_RECEIVED = 128
"""Where ``tcpi_bytes_received`` is in the kernel's ``struct tcp_info``."""


@define
class _Connection:
    address: object
    """Of the other end: says whether the descriptor is still of this connection."""
    silent_at: float
    """When it must have said something; never, once it has."""
    whole: int = 0
    """Bytes that had come when it was last known to have sent a whole message."""
    suspect_until: float = inf
    """When it is cut, as too much came since."""


class ConnectionWatch:
    """The connections that one listening socket has accepted."""

    def __init__(self, socket: Socket, *, silence: float = SILENCE) -> None:
        """Begin to watch; ``silence`` is infinite where connections may say nothing for long."""
        self._silence = silence
        self._socket = socket
        self._events: Socket = socket.get_monitor_socket(
            zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED
        )
        self._connections: dict[int, _Connection] = {}
        self._heard: set[int] = set()
        self.cut = 0
        """Connections that were cut so far."""

    def __len__(self) -> int:
        return len(self._connections)

    def heard(self, frame: zmq.Frame) -> None:
        """Take note of a whole message, by one of its frames."""
        try:
            descriptor = frame.get(zmq.MessageOption.SRCFD)
        except zmq.ZMQError:
            return  # from inside this process
        assert isinstance(descriptor, int)
        self._heard.add(descriptor)

    def look(self, *, now: float, read_empty: bool) -> None:
        """Cut who sent too much, or nothing; to be called several times a second.

        ``read_empty``: no whole message was left when the socket was last read.
        """
        self._take_events(now)
        for descriptor, connection in list(self._connections.items()):
            try:
                objection = self._objection(descriptor, connection, now, read_empty=read_empty)
                if objection:
                    self._cut(descriptor, connection, objection)
            except OSError:
                self._connections.pop(descriptor, None)  # closed, and not yet told
        self._heard.clear()

    def close(self) -> None:
        """Watch no longer; to be called before the socket is closed."""
        self._socket.disable_monitor()
        self._events.close(linger=0)

    def _take_events(self, now: float) -> None:
        while self._events.poll(0):
            event = recv_monitor_message(self._events)
            descriptor = event["value"]
            self._connections.pop(descriptor, None)
            if event["event"] == zmq.Event.ACCEPTED:
                try:
                    address = _address(descriptor)
                except OSError:
                    continue  # gone already
                self._connections[descriptor] = _Connection(address, now + self._silence)

    def _objection(
        self, descriptor: int, connection: _Connection, now: float, *, read_empty: bool
    ) -> str:
        """Return why a connection is to be cut; empty when it is not."""
        received = _bytes_received(descriptor)
        if descriptor in self._heard:
            connection.whole = received
            connection.silent_at = connection.suspect_until = inf
            return ""
        if received - connection.whole <= MOST_BYTES:
            return "it says nothing" if connection.silent_at <= now else ""
        if connection.suspect_until == inf:
            # What came may be whole by now, and wait to be read.
            connection.suspect_until = now + PATIENCE
            return ""
        if read_empty or connection.suspect_until <= now:
            return f"it sent {received - connection.whole} bytes that are no whole message"
        return ""

    def _cut(self, descriptor: int, connection: _Connection, reason: str) -> None:
        del self._connections[descriptor]
        if _address(descriptor) != connection.address:
            return
        self.cut += 1
        if self.cut.bit_count() == 1:  # the 1st, 2nd, 4th …: a log cannot be flooded
            logger.warning("cut a connection from %s: %s", connection.address, reason)
        with socketlib.socket(fileno=os.dup(descriptor)) as other:
            # ZeroMQ closes it when it reads the end, and then the peer is told so at once.
            other.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_LINGER, struct.pack("ii", 1, 0))
            other.shutdown(socketlib.SHUT_RDWR)


def _address(descriptor: int) -> object:
    with socketlib.socket(fileno=os.dup(descriptor)) as same:
        return same.getpeername()


def _bytes_received(descriptor: int) -> int:
    """Return how many bytes ever came over a connection; 0 where the kernel does not tell."""
    if not hasattr(socketlib, "TCP_INFO"):
        return 0
    same = socketlib.socket(socketlib.AF_INET, socketlib.SOCK_STREAM, 0, fileno=descriptor)
    try:
        info = same.getsockopt(socketlib.IPPROTO_TCP, socketlib.TCP_INFO, _BYTES_RECEIVED + 8)
    finally:
        same.detach()
    if len(info) < _BYTES_RECEIVED + 8:
        return 0
    received: int = struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0]
    return received
