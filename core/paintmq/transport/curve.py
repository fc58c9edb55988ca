"""Who may connect: CURVE keys on the sockets, and the handler that ZeroMQ asks about each peer.

A secured socket admits only peers that the handler knows: without a handler, or with one that
hangs, every handshake fails. A key has a role, and a port admits certain roles. A key that was
revoked or has expired is refused at its next message, also on a connection that is already open.
"""

import logging
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import zmq
from attrs import frozen
from zmq.utils import z85

from paintmq.errors import ConfigError
from paintmq.statistics import ShellStatistics, is_worth_a_line
from paintmq.transport.key_files import (
    Allowed,
    KeyPair,
    PeerKey,
    Role,
    list_keys,
    load_broker_keys,
)
from paintmq.transport.sockets import Context, Socket
from paintmq.transport.wakeup import Wakeup

logger = logging.getLogger(__name__)

CLIENT_PORT = "paintmq-clients"
"""ZAP domain of the port for clients: takes clients and admins."""
WORKER_PORT = "paintmq-workers"
"""ZAP domain of the ports of queues: takes workers."""


def port_for(public_key: str) -> str:
    """Return the ZAP domain of a port for one worker's key alone."""
    return f"{WORKER_PORT} {public_key}"


_ROLES: Mapping[str, frozenset[Role]] = {
    CLIENT_PORT: frozenset({"client", "admin"}),
    WORKER_PORT: frozenset({"worker"}),
}
ZAP_ENDPOINT = "inproc://zeromq.zap.01"  # fixed by RFC 27
ZAP_VERSION = b"1.0"
_REQUEST_FRAMES = 7


@frozen
class _Known:
    """What one reading of the list allows, by public key, and when keys of it expire."""

    number: int
    users: Mapping[str, Allowed]
    ends: tuple[float, ...]
    """In order."""


class KeyRing:
    """The broker's own keys and those it admits. Safe to read from any thread.

    Keys expire by the wall clock of the moment: what people agree on is a date.
    """

    def __init__(self, folder: Path, *, wall: Callable[[], int] = time.time_ns) -> None:
        """Read the keys.

        Raises:
            ConfigError: they are missing, damaged, or readable by others.
        """
        self._folder = folder
        self._wall = wall
        self.broker: KeyPair = load_broker_keys(folder)
        self._known = _Known(0, {}, ())
        self.reload()

    def reload(self) -> None:
        """Read the list of admitted keys again.

        Raises:
            ConfigError: the list is damaged; the previous one stays in force.
        """
        entries = list_keys(self._folder)
        users = {each.public: each for each in entries}
        ends = sorted(end for each in entries if (end := each.terms.not_after) is not None)
        self._known = _Known(self._known.number + 1, users, tuple(ends))

    def __len__(self) -> int:
        return len(self._known.users)

    @property
    def edition(self) -> tuple[int, int]:
        """Changes whenever a key may have been revoked, have expired or have other terms."""
        known = self._known
        return known.number, bisect_right(known.ends, self.now())

    def user_of(self, public_key: str, port: str) -> Allowed | None:
        """Return whose key this is, if it is valid and its role may use that kind of port."""
        kind, _, only_key = port.partition(" ")
        user = self._known.users.get(public_key)
        if user is None or user.role not in _ROLES.get(kind, frozenset()):
            return None
        if only_key not in ("", public_key):
            return None
        if user.terms.not_after is not None and user.terms.has_expired(self.now()):
            return None
        return user

    def objection(self, public_key: str, port: str, *, known_as: str = "") -> str:
        """Return why ``user_of`` returned None; ``known_as``: the name the key had."""
        user = self._known.users.get(public_key)
        if user is None and known_as:
            return f"the key {known_as!r} was revoked"
        if user is None:
            return "its key is not among those that are allowed"
        kind, _, only_key = port.partition(" ")
        if only_key not in ("", public_key):
            return f"the key {user.name!r} is not that of the worker whose tasks come by that port"
        if user.role not in _ROLES.get(kind, frozenset()):
            return f"the key {user.name!r} has the role {user.role}, which does not open that port"
        return f"the key {user.name!r} expired on {user.terms.end}"

    @property
    def keys(self) -> Collection[Allowed]:
        """All that are listed, expired ones too."""
        return self._known.users.values()

    def now(self) -> float:
        """Return the time by which keys expire."""
        return self._wall() / 1e9

    def secure(self, socket: Socket, port: str) -> None:
        """Admit known keys only; call it before binding."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.broker.secret.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.broker.public.encode())
        socket.setsockopt(zmq.ZAP_DOMAIN, port.encode())
        # Without this, a missing handler would admit every connection.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_with(socket: Socket, key: PeerKey) -> None:
    """Use a peer's key to reach its broker, and no other; call it before connecting."""
    if key.terms.has_expired(time.time_ns() / 1e9):
        # The broker cannot say so: it refuses the handshake without a reason.
        logger.warning("the key %r expired on %s: ask for a new one", key.name, key.terms.end)
    socket.setsockopt(zmq.CURVE_SECRETKEY, key.keys.secret.encode())
    socket.setsockopt(zmq.CURVE_PUBLICKEY, key.keys.public.encode())
    socket.setsockopt(zmq.CURVE_SERVERKEY, key.broker.encode())


def public_key_of(frame: zmq.Frame) -> str | None:
    """Return the sender's public key; None for a peer inside this process."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return None


class Authenticator:
    """Answers ZeroMQ's question, in a thread of its own, whether a key may connect.

    One per context: ZeroMQ asks at a fixed address. It does no I/O but that.
    """

    def __init__(
        self, context: Context, ring: KeyRing, statistics: ShellStatistics | None = None
    ) -> None:
        self._context = context
        self._ring = ring
        self._statistics = statistics if statistics is not None else ShellStatistics()
        self._refusals: Counter[str] = Counter()
        self._stop: Wakeup | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Answer from now on; call it before a secured socket is bound.

        Raises:
            ConfigError: the context has another handler already.
        """
        handler: Socket = self._context.socket(zmq.REP)
        handler.setsockopt(zmq.LINGER, 0)
        try:
            handler.bind(ZAP_ENDPOINT)
        except zmq.ZMQError as error:
            handler.close()
            raise ConfigError(
                "this ZeroMQ context has a ZAP handler already: give the broker its own context"
            ) from error
        self._stop = Wakeup()
        self._thread = threading.Thread(
            target=self._serve, args=(handler, self._stop), name="paintmq-zap", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; from now on new connections are refused. Harmless to repeat."""
        if self._stop is None or self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._stop.close()
        self._stop = self._thread = None

    def _serve(self, handler: Socket, stop: Wakeup) -> None:
        poller = zmq.Poller()
        poller.register(handler, zmq.POLLIN)
        poller.register(stop.fileno(), zmq.POLLIN)
        with handler:
            while True:
                ready = dict(poller.poll())
                if stop.fileno() in ready:
                    handler.unbind(ZAP_ENDPOINT)  # closing alone frees it some time later
                    return
                handler.send_multipart(self._answer(handler.recv_multipart()))

    def _answer(self, request: list[bytes]) -> list[bytes]:
        """Return the answer of RFC 27: who it is, or a refusal."""
        request_id = request[1] if len(request) > 1 else b""
        if len(request) != _REQUEST_FRAMES or request[5] != b"CURVE":
            return [ZAP_VERSION, request_id, b"400", b"only CURVE is spoken here", b"", b""]
        domain, address, credentials = request[2], request[3], request[6]
        public = z85.encode(credentials).decode()
        port = domain.decode(errors="replace")
        user = self._ring.user_of(public, port)
        if user is None:
            self._refused(address.decode(errors="replace"), port, public)
            return [ZAP_VERSION, request_id, b"400", b"this key is not allowed", b"", b""]
        return [ZAP_VERSION, request_id, b"200", b"", public.encode(), b""]

    def _refused(self, address: str, port: str, public: str) -> None:
        """Count a refusal, and log it now and then: whoever reaches the port can cause them.

        Each reason is counted by itself, so that a flood of unknown keys does not hide that a
        known key has expired. There are no more reasons than keys.
        """
        reason = self._ring.objection(public, port)
        self._statistics.handshakes_refused += 1
        self._refusals[reason] += 1
        if is_worth_a_line(self._refusals[reason]):
            text = "refused a connection from %s to %s (%d so far): %s"
            logger.warning(text, address, port, self._refusals[reason], reason)
