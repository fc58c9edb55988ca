"""Cuts connections that send endless unfinished messages, which ZeroMQ buffers without a limit.

A frame has a maximum size, a message of many frames has none, and the program sees none of it
before its end. So the kernel is asked how many bytes came over each connection, and ZeroMQ which
connection a message came from. This needs a kernel that tells (Linux); elsewhere nothing is cut.
"""

import errno
import logging
import os
import socket as socketlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf

import zmq
from attrs import define

from paintmq.statistics import ShellStatistics, is_worth_a_line
from paintmq.transport.monitor_events import receive_event
from paintmq.transport.sockets import Socket
from paintmq.units import MIB

logger = logging.getLogger(__name__)

MOST_BYTES = 32 * MIB
"""From one connection without a complete message. A message of the protocol has 3 MiB at most, but
the kernel may hold this much (``net.ipv4.tcp_rmem``) while ZeroMQ finds no time to read it."""
STRANGERS_MOST_BYTES = 4 * MIB
"""The same where any program on this machine may connect: there the kernel holds little
(``sockets.py``), and what is sent arrives without delay."""
STRANGERS_BYTES_IN_ALL = 8 * MIB
"""From all such connections together. Empty frames take 32 times that in ZeroMQ's memory."""
NOTABLE_BYTES = 1024
"""More than a handshake. A connection that sent this much without completing a message is *behind*
after a while; what our own programs send is complete almost at once."""
BEHIND = 0.2
"""Seconds until such a connection counts as behind."""
SOON_BYTES = MIB
"""From all that are behind: with more it is worth inspecting them again soon."""
SILENCE = 30.0
"""Seconds within which a connection to a ROUTER must send its first message."""
PATIENCE = 5.0
"""Seconds until a connection over its limit is cut though the socket was never read empty."""
_BYTES_RECEIVED = 128
"""Where ``tcpi_bytes_received`` is in the kernel's ``struct tcp_info``."""


@define
class _Connection:
    address: object
    """Of the other end: tells whether the descriptor still belongs to this connection."""
    silent_at: float
    """When its first message is overdue; infinite once that has come."""
    whole: int = 0
    """Bytes received when its last complete message was seen."""
    came: int = 0
    """Bytes received at the last inspection."""
    spoke: bool = False
    """Whether a complete message ever came from it."""
    suspect_until: float = inf
    """When it is cut for having sent too much since."""
    behind_at: float = inf
    """When it counts as behind."""

    @property
    def unfinished(self) -> int:
        """Bytes received since its last complete message."""
        return self.came - self.whole

    def update(self, received: int, *, heard: bool, now: float) -> None:
        """Record the kernel's count of bytes, and whether a complete message has come since."""
        self.came = received
        if heard:
            self.whole, self.spoke = received, True
            self.silent_at = self.suspect_until = self.behind_at = inf
        elif self.unfinished > NOTABLE_BYTES and self.behind_at == inf:
            self.behind_at = now + BEHIND


class ConnectionWatch:
    """The connections that one listening socket has accepted."""

    def __init__(
        self,
        socket: Socket,
        *,
        silence: float = SILENCE,
        strangers: bool = False,
        statistics: ShellStatistics | None = None,
    ) -> None:
        """Start to watch.

        Args:
            socket: not bound yet.
            silence: seconds; infinite where connections may send nothing for long.
            strangers: whether any program on this machine may connect, without a key.
            statistics: counts the connections that are cut, here and elsewhere.
        """
        self._statistics = statistics if statistics is not None else ShellStatistics()
        self._most = STRANGERS_MOST_BYTES if strangers else MOST_BYTES
        self._most_in_all = STRANGERS_BYTES_IN_ALL if strangers else inf
        self._silence = silence
        self._socket = socket
        self._events: Socket = socket.get_monitor_socket(
            zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED
        )
        self._connections: dict[int, _Connection] = {}
        self._heard: set[int] = set()
        self.cut = 0
        """Connections cut so far."""
        self.offenders = 0
        """Those among them that had sent too much."""

    def __len__(self) -> int:
        return len(self._connections)

    def heard(self, frame: zmq.Frame) -> None:
        """Record a complete message, by one of its frames."""
        descriptor = _descriptor(frame)
        if descriptor is not None:
            self._heard.add(descriptor)

    def cut_sender(self, frame: zmq.Frame, *, now: float | None = None) -> None:
        """Cut the connection a message came from, by one of its frames; harmless if it is gone.

        ZeroMQ tells the descriptor it came by, which may belong to another connection by now. So
        pass ``now`` only if the sender is known to be still there; otherwise the connection is cut
        only if it was there at the last inspection and is still the same one.
        """
        descriptor = _descriptor(frame)
        if descriptor is None:
            return
        if now is not None:
            self._take_events(now)
        self._cut_offender(descriptor, "it sent a message of too many frames")

    def inspect(self, *, now: float, read_empty: bool, is_cutting: bool = False) -> bool:
        """Cut connections that sent too much, or nothing; call it several times a second.

        Args:
            now: in seconds.
            read_empty: no complete message was left when the socket was last read.
            is_cutting: a message that is too long is being discarded, and others wait behind it.

        Returns:
            Whether it is worth inspecting them again soon.
        """
        self._take_events(now)
        for descriptor, connection in list(self._connections.items()):
            try:
                received = _bytes_received(descriptor)
            except OSError:
                self._connections.pop(descriptor, None)  # closed, but the event has not arrived yet
                continue
            connection.update(received, heard=descriptor in self._heard, now=now)
            if self._sent_too_much(connection, now, read_empty=read_empty):
                reason = f"it sent {connection.unfinished} bytes of an unfinished message"
                self._cut_offender(descriptor, reason)
            elif connection.silent_at <= now:
                self._try_to_cut(descriptor, "it sent nothing")
        self._heard.clear()
        behind = [each for each in self._connections.items() if each[1].behind_at < inf]
        if is_cutting:  # an attack: it may be one of many
            self._cut_most_behind(behind)
        elif read_empty:
            self._cut_most_behind([each for each in behind if each[1].behind_at <= now])
        return sum(connection.unfinished for _, connection in behind) > SOON_BYTES

    def close(self) -> None:
        """Stop watching; call it before the socket is closed."""
        self._socket.disable_monitor()
        self._events.close(linger=0)

    def _take_events(self, now: float) -> None:
        while self._events.poll(0):
            kind, descriptor = receive_event(self._events)
            self._connections.pop(descriptor, None)
            if kind == zmq.Event.ACCEPTED:
                try:
                    address = _address(descriptor)
                except OSError:
                    continue  # gone already
                self._connections[descriptor] = _Connection(address, now + self._silence)

    def _sent_too_much(self, connection: _Connection, now: float, *, read_empty: bool) -> bool:
        if connection.unfinished <= self._most:
            return False
        if connection.suspect_until == inf:
            # What came may be complete by now, and wait to be read.
            connection.suspect_until = now + PATIENCE
            return False
        return read_empty or connection.suspect_until <= now

    def _cut_most_behind(self, behind: list[tuple[int, _Connection]]) -> None:
        """If they sent too much together, cut most of them.

        Those that never completed a message go first, then those that sent the most.
        """
        in_all = sum(connection.unfinished for _, connection in behind)
        if in_all <= self._most_in_all:
            return
        behind.sort(key=lambda each: (each[1].spoke, -each[1].unfinished))
        for descriptor, connection in behind:
            if in_all <= SOON_BYTES:
                return
            in_all -= connection.unfinished
            reason = f"it is one of many with unfinished messages ({connection.unfinished} bytes)"
            self._cut_offender(descriptor, reason)

    def _cut_offender(self, descriptor: int, reason: str) -> None:
        self.offenders += 1
        self._try_to_cut(descriptor, reason)

    def _try_to_cut(self, descriptor: int, reason: str) -> None:
        connection = self._connections.pop(descriptor, None)
        if connection is None:
            return  # it has left, as far as we know
        try:
            with _socket_of(descriptor) as other:
                if _address_or_none(other) in {connection.address, None}:
                    self._cut(other, f"{connection.address}: {reason}")
        except OSError:
            pass  # it is closed already

    def _cut(self, connection: socketlib.socket, reason: str) -> None:
        self.cut += 1
        self._statistics.connections_cut += 1
        if is_worth_a_line(self._statistics.connections_cut):
            logger.warning("cut a connection from %s", reason)
        hang_up(connection)


def hang_up(connection: socketlib.socket) -> None:
    """End a TCP connection that another reader owns, at once: what the kernel still holds of it is
    discarded. The owner finds the connection ended, and closes it.
    """
    connection.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_LINGER, struct.pack("ii", 1, 0))
    connection.settimeout(0.0)
    scrap = bytearray(SOON_BYTES // 4)
    with suppress(OSError):  # the other end was faster
        connection.shutdown(socketlib.SHUT_RDWR)
    with suppress(OSError):
        while connection.recv_into(scrap):
            pass


def _descriptor(frame: zmq.Frame) -> int | None:
    """Return the descriptor a frame came by; None if it came from inside this process."""
    try:
        descriptor = frame.get(zmq.MessageOption.SRCFD)
    except zmq.ZMQError:
        return None
    assert isinstance(descriptor, int)
    return descriptor


def _address_or_none(connection: socketlib.socket) -> object:
    """Return the address of the other end; None when it has reset the connection."""
    try:
        return connection.getpeername()
    except OSError:
        return None


@contextmanager
def _socket_of(descriptor: int) -> Iterator[socketlib.socket]:
    """Yield the socket of a descriptor that ZeroMQ owns, and leave it open.

    It is a duplicate, which stays the same connection whatever ZeroMQ does. Where no more files can
    be opened it is the descriptor itself: that is just when connections that waste them must go.
    """
    try:
        copy = os.dup(descriptor)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        same = socketlib.socket(fileno=descriptor)
        try:
            yield same
        finally:
            same.detach()
    else:
        with socketlib.socket(fileno=copy) as other:
            yield other


def _address(descriptor: int) -> object:
    with _socket_of(descriptor) as same:
        return same.getpeername()


def _bytes_received(descriptor: int) -> int:
    """Return how many bytes ever arrived on a connection; 0 where the kernel does not tell."""
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
