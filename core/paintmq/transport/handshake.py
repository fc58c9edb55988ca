"""Why a connection comes to nothing although something listens: in words for who holds the key.

A broker refuses a key without a word to the program that shows it; ZeroMQ tells what became of the
handshake to whoever watches the socket. So a socket of its own is connected and watched: no message
is sent, and the connection that waits is left alone.
"""

import socket as tcp
from time import monotonic

import zmq

from paintmq.identifiers import new_peer_id
from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import PeerKey
from paintmq.transport.monitor_events import receive_event
from paintmq.transport.sockets import connect, dealer, new_context

STOPPED = "it is a broker or another ZeroMQ program, and is stopped or overloaded"
"""Said where nothing is wrong with the handshake."""
_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_SIGNATURE = b"\xff\0\0\0\0\0\0\0\1\x7f"
_VERSION = b"\3"
_MECHANISM = slice(12, 32)
"""Of a greeting of ZMTP 3 (https://rfc.zeromq.org/spec/37/): signature, version, mechanism."""


def why_refused(endpoint: str, key: PeerKey | None, patience: float) -> str:
    """Return why a program with this key is not let in there; empty when that cannot be told.

    Waits ``patience`` seconds at most.
    """
    context = new_context()
    socket = dealer(context, new_peer_id())
    monitor = socket.get_monitor_socket(_FAILED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
    failed = 0
    try:
        if key is not None:
            secure_with(socket, key)
        connect(socket, endpoint)
        ends = monotonic() + patience
        while (left := ends - monotonic()) > 0 and monitor.poll(int(left * 1000) + 1):
            event = receive_event(monitor).kind
            if event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                return _in_words(event, key)
            failed = event  # perhaps the next try tells more
            if key is None and _asks_for_key(endpoint, ends):
                # It hangs up as soon as it has read ours: whether ZeroMQ has read its is a race.
                return _in_words(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, key)
    except zmq.ZMQError:
        return ""
    finally:
        socket.disable_monitor()
        monitor.close(0)
        socket.close(0)
        context.term()
    return _in_words(failed, key) if failed else ""


def _asks_for_key(endpoint: str, ends: float) -> bool:
    """Return whether the greeting there names CURVE; waits until ``ends`` at most.

    Only the beginning of ours is sent, so that the other side has nothing to object to.
    """
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    greeting = b""
    try:
        left = max(0.001, ends - monotonic())
        with tcp.create_connection((host.strip("[]"), int(port)), timeout=left) as connection:
            connection.sendall(_SIGNATURE + _VERSION)
            while len(greeting) < _MECHANISM.stop and (left := ends - monotonic()) > 0:
                connection.settimeout(left)
                part = connection.recv(_MECHANISM.stop)
                if not part:
                    break
                greeting += part
    except (OSError, ValueError):  # it hangs up, or listens elsewhere than on TCP
        return False
    return greeting[_MECHANISM].rstrip(b"\0") == b"CURVE"


def _in_words(event: int, key: PeerKey | None) -> str:
    match event:
        case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            name = key.name if key is not None else ""
            return (
                f"it refuses the key {name!r} (broker.key): revoked, expired, not in its list, or"
                " for another role, as workers' keys open queues' ports alone; `paintmq keys list"
                " FOLDER` there tells"
            )
        case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL if key is None:
            return "it asks for a key: name yours with broker.key (PAINTMQ_BROKER__KEY=FILE)"
        case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL if key is not None:
            return (
                f"it asks for no key, and is shown {key.name!r}: it is another broker, or one whose"
                " broker.keys is not set; to connect without, leave out broker.key"
            )
        case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL if key is not None:
            return (
                f"it has not the identity that the key file of {key.name!r} names (broker.key): it"
                " is another broker, or was given new keys; ask its operator for a new key file"
            )
        case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            return "it speaks no ZeroMQ, or asks for a key (broker.key)"
        case _:
            return STOPPED
