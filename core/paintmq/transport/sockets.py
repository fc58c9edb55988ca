"""Sockets with every option set on purpose. No socket of PaintMQ is made anywhere else.

Each value was measured; the comments say what the default does.
"""

from typing import TypeAlias

import zmq

from paintmq.errors import ConfigError, PortInUseError
from paintmq.task import PeerId
from paintmq.transport.forked_sockets import belongs_to_parent
from paintmq.units import MIB

Context: TypeAlias = zmq.Context[zmq.Socket[bytes]]
Socket: TypeAlias = zmq.Socket[bytes]

MAX_FRAME_BYTES = 2 * MIB
"""Limits one frame, not a message: keep unknown peers out by keys (``curve.py``)."""
MAX_SOCKETS = 65_536

_LIVENESS = {
    zmq.LINGER: 0,  # the default waits for ever at exit for one unsent message
    zmq.MAXMSGSIZE: MAX_FRAME_BYTES,  # the default lets a peer reserve 16 GiB with one header
    zmq.HANDSHAKE_IVL: 10_000,
    # No ZMTP heartbeats (HEARTBEAT_IVL stays 0): libzmq 4.3.5 aborts the process when one is due
    # for a peer that left while more of its messages waited than the high-water mark. The kernel
    # notices a machine that is gone within 30 s (10 + 4 * 5, or unacknowledged data); a program
    # that hangs is the business of the protocol's own heartbeats.
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 10,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 4,
    zmq.TCP_MAXRT: 30_000,
}
_BINDING = {zmq.BACKLOG: 1_024}
_FROM_STRANGERS = {
    # What the kernel buffers cannot be told from what ZeroMQ buffers, so keep it small. The peers
    # are on this machine, where more is no faster.
    zmq.RCVBUF: 256 * 1024,
    # Unread messages of one connection, however many frames each has; twice a window of bursts.
    zmq.RCVHWM: 16,
}
_CONNECTING = {
    zmq.RECONNECT_IVL: 200,
    zmq.RECONNECT_IVL_MAX: 10_000,
    zmq.IMMEDIATE: 1,  # nothing is queued for a peer that is not there
}


def libzmq() -> tuple[tuple[int, ...], bool]:
    """Return the version of libzmq, and whether it was built with CURVE (keys)."""
    return zmq.zmq_version_info(), zmq.has("curve")


def sockets_are_gone(error: BaseException) -> bool:
    """Return whether an error says that a context or socket was closed: nothing more will come."""
    return isinstance(error, zmq.ZMQError) and error.errno in (zmq.ETERM, zmq.ENOTSOCK)


def new_context(*, io_threads: int = 1) -> Context:
    """Return a context with room for thousands of sockets; close it with ``term``."""
    context: Context = zmq.Context(io_threads)
    context.max_sockets = MAX_SOCKETS
    return context


def router(context: Context, *, backlog: int = 10_000, strangers: bool = False) -> Socket:
    """Return a ROUTER that is not bound yet.

    Args:
        context: it belongs to.
        backlog: messages that may wait for one peer; sending more raises zmq.Again, and a peer
            that lets it come to this is best dropped.
        strangers: whether any program on this machine may connect, without a key.
    """
    socket = _socket(context, zmq.ROUTER, _LIVENESS, _BINDING)
    # Sending to a peer that is gone is an error; by default the message is dropped silently.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    # A new connection with the id of another peer must not take over its messages.
    socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
    socket.setsockopt(zmq.SNDHWM, backlog)
    # Unread messages of one peer, however many frames each has; TCP holds it back after that.
    socket.setsockopt(zmq.RCVHWM, 100)
    if strangers:
        _set(socket, _FROM_STRANGERS)
    return socket


def dealer(context: Context, identity: PeerId, *, linger: float = 0.0) -> Socket:
    """Return a DEALER that is not connected yet.

    Args:
        context: it belongs to.
        identity: fresh for each connection, see ``new_peer_id``.
        linger: seconds for which closing the socket still sends what is queued, behind the
            caller's back; ``term`` of the context waits for it.
    """
    socket = _socket(context, zmq.DEALER, _LIVENESS, _CONNECTING)
    socket.setsockopt(zmq.IDENTITY, identity)
    socket.setsockopt(zmq.LINGER, int(linger * 1000))
    socket.setsockopt(zmq.SNDHWM, 1_000)
    socket.setsockopt(zmq.RCVHWM, 1_000)
    return socket


def push(context: Context, *, connects: bool) -> Socket:
    """Return a PUSH that is one end of one pipe, not yet bound or connected."""
    socket = _socket(context, zmq.PUSH, _LIVENESS, _CONNECTING if connects else _BINDING)
    # Credits limit what is under way; with a mark it reported "full" while empty (measured).
    socket.setsockopt(zmq.SNDHWM, 0)
    return socket


def pull(context: Context, *, connects: bool, strangers: bool = False) -> Socket:
    """Return a PULL that is not bound or connected yet; for ``strangers`` see ``router``."""
    socket = _socket(context, zmq.PULL, _LIVENESS, _CONNECTING if connects else _BINDING)
    socket.setsockopt(zmq.RCVHWM, 16)  # bursts of 1 MiB
    if strangers:
        _set(socket, _FROM_STRANGERS)
    return socket


def bind(socket: Socket, host: str, port: int, *, purpose: str) -> str:
    """Bind to a TCP address and return the endpoint, with the real port where ``port`` is 0.

    Args:
        socket: to bind.
        host: address of this machine, IPv4 or IPv6.
        port: 0 lets the system choose.
        purpose: what the port is for, as messages say it: "queue 'gpu-high'" or "clients".

    Raises:
        PortInUseError: another process has the port.
        ConfigError: this machine has no such address, or it may not be bound.
    """
    address = f"[{host}]" if ":" in host else host
    if ":" in host:
        socket.setsockopt(zmq.IPV6, 1)
    try:
        socket.bind(f"tcp://{address}:{port or '*'}")
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise PortInUseError(
                f"port {port} for {purpose} is taken by another process: "
                f"stop it, or set another port"
            ) from error
        raise ConfigError(f"cannot bind {host}:{port} for {purpose}: {error.strerror}") from error
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    address = endpoint.rstrip(b"\0").decode()
    belongs_to_parent(socket, int(address.rpartition(":")[2]))
    return address


def connect(socket: Socket, endpoint: str) -> None:
    """Connect to ``tcp://HOST:PORT``; without being told so, ZeroMQ knows no IPv6.

    Raises:
        zmq.ZMQError: the address is malformed.
    """
    if "[" in endpoint:
        socket.setsockopt(zmq.IPV6, 1)
    socket.connect(endpoint)


def _socket(context: Context, kind: int, *options: dict[zmq.SocketOption, int]) -> Socket:
    socket: Socket = context.socket(kind)
    for table in options:
        _set(socket, table)
    return socket


def _set(socket: Socket, table: dict[zmq.SocketOption, int]) -> None:
    for option, value in table.items():
        socket.setsockopt(option, value)
