"""The broker's listening sockets: one for clients, one for each queue's workers."""

import contextlib
import logging
import socket as socketlib
import time
from collections.abc import Callable
from functools import partial

import zmq
from attrs import define, evolve, field

from paintmq.broker.connections.access import AccessControl
from paintmq.broker.connections.peers import UnreachableError
from paintmq.broker.machine import NO_KEYS, Credentials
from paintmq.config import BrokerConfig, QueueConfig
from paintmq.errors import ConfigError
from paintmq.settings.conflicts import exposure
from paintmq.statistics import ShellStatistics
from paintmq.task import Buffer, PeerId
from paintmq.transport.addresses import is_loopback
from paintmq.transport.connection_throttle import ConnectionThrottle
from paintmq.transport.connection_watch import ConnectionWatch
from paintmq.transport.curve import CLIENT_PORT, WORKER_PORT, KeyRing, port_for, public_key_of
from paintmq.transport.key_files import Allowed, Role
from paintmq.transport.multipart import MultipartReader, send_frames
from paintmq.transport.pipes import BrokerPipes
from paintmq.transport.sockets import Context, Socket, bind, router
from paintmq.wire.link import MAX_FRAMES
from paintmq.wire.messages import FromBroker, WorkerWelcome

logger = logging.getLogger(__name__)

CLIENTS = "clients"
_BACKLOG = 64
"""Messages of up to 1 MiB that ZeroMQ queues for one peer; the rest wait in our own queue."""
_MOST_FRAMES = 1 + MAX_FRAMES
"""In one received message: the sender's id comes first."""


@define(eq=False)
class RouterEndpoint:
    """A ROUTER socket."""

    name: str
    socket: Socket
    is_queue: bool
    ring: KeyRing | None = None
    """The keys that may connect; None: anyone who can reach the address."""
    gate: ConnectionThrottle | None = None
    """Where peers without a key wait to be let in."""
    strangers: bool = False
    """Whether any program on this machine may connect; its connections then have tighter limits."""
    statistics: ShellStatistics = field(factory=ShellStatistics)
    """Counts the connections that are cut."""
    address: str = ""
    other_socket: Socket | None = field(default=None, init=False)
    """By which more arrives, if there is one."""
    _users: dict[PeerId, Allowed] = field(factory=dict[PeerId, Allowed], init=False)
    """The key of each connection, with its terms when the connection began."""
    _edition: tuple[int, int] = field(default=(0, 0), init=False)
    """Edition of the key ring when ``changed_keys`` was last called."""
    _reader: MultipartReader = field(init=False)
    _last: zmq.Frame | None = field(default=None, init=False)
    """Routing id frame of the message that was received last."""

    def __attrs_post_init__(self) -> None:
        watch = ConnectionWatch(self.socket, strangers=self.strangers, statistics=self.statistics)
        self._reader = MultipartReader(self.socket, most_frames=_MOST_FRAMES, watch=watch)

    @property
    def sockets(self) -> tuple[Socket, ...]:
        """The sockets to poll."""
        return (self.socket,) if self.other_socket is None else (self.socket, self.other_socket)

    @property
    def keeps_work_apart(self) -> bool:
        """Whether links must keep tasks and results apart; see ``Link.work_apart``."""
        return False

    @property
    def has_more(self) -> bool:
        """Whether ``receive`` has something to do although it returned None."""
        return self._reader.is_cutting

    def bind(self, host: str, port: int) -> None:
        purpose = f"queue {self.name!r}" if self.is_queue else self.name
        self.secure(self.socket)
        self.address = bind(self.socket, host, port, purpose=purpose)

    def secure(self, socket: Socket) -> None:
        """Admit known keys only; or, without keys, admit connections at a limited rate."""
        if self.ring is not None:
            self.ring.secure(socket, self._port)
        elif self.gate is not None:
            self.gate.guard(socket)

    def receive(self) -> tuple[PeerId, list[Buffer]] | None:
        """Return the next message; None when there is none, or none yet (see ``has_more``)."""
        while (received := self._reader.receive()) is not None:
            peer, *frames = received
            peer_id, self._last = PeerId(peer.bytes), peer
            if self._is_allowed(peer_id, frames):
                return peer_id, [frame.buffer for frame in frames]
        return None

    @property
    def is_flooded(self) -> bool:
        """Whether the message that was received last has too many frames and is being discarded."""
        return self._reader.is_cutting

    def hang_up(self, *, now: float) -> None:
        """Cut the connection of the last message; its peer must still be connected."""
        assert self._last is not None
        self._reader.hang_up(self._last, now=now)

    @property
    def wasted(self) -> float:
        """Seconds spent so far on useless input from peers without a key."""
        return self._reader.wasted

    def inspect(self, *, now: float, read_empty: bool) -> bool:
        """Inspect all connections, including those from which nothing was ever received.

        Args:
            now: in seconds.
            read_empty: nothing was left to be received.

        Returns:
            Whether to inspect them again soon.
        """
        return self._reader.inspect(now=now, read_empty=read_empty)

    def send(self, peer: PeerId, frames: list[Buffer]) -> bool:
        try:
            send_frames(self.socket, [peer, *frames])
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                raise UnreachableError from error
            raise
        return True

    def by_pipe(self, peer: PeerId, frames: list[Buffer]) -> bool:
        """Return whether these frames travel by pipe instead of this socket."""
        return False

    def stamped(self, peer: PeerId, message: FromBroker) -> FromBroker:
        """Return the message with the fields filled in that only the endpoint knows."""
        return message

    def role_of(self, peer: PeerId) -> Role:
        """Return what a peer may do; without keys, everything."""
        user = self._users.get(peer)
        return user.role if user is not None else "admin"

    def key_of(self, peer: PeerId) -> str:
        """Return the name of the peer's key; empty where no keys are in use."""
        user = self._users.get(peer)
        return user.name if user is not None else ""

    def credentials_of(self, peer: PeerId) -> Credentials:
        """Return what the peer's key says of it."""
        user = self._users.get(peer)
        if user is None:
            return NO_KEYS
        return Credentials(
            key=user.name,
            is_admin=user.role == "admin",
            queues=user.terms.queues,
            tenant=user.terms.tenant,
            max_priority=user.terms.max_priority,
            quota=user.terms.quota,
        )

    def changed_keys(self) -> list[tuple[PeerId, str]]:
        """Return the peers whose key was revoked, has expired or has other terms now.

        Each comes with the reason why its key is refused, empty if it merely has other terms.
        A change is reported once.
        """
        if self.ring is None or self.ring.edition == self._edition:
            return []
        self._edition = self.ring.edition
        changed = []
        for peer, user in list(self._users.items()):
            current = self.ring.user_of(user.public, self._port)
            if current is None:
                refusal = self.ring.objection(user.public, self._port, known_as=user.name)
                changed.append((peer, refusal))
            elif current != user:
                changed.append((peer, ""))
        return changed

    def forget_peer(self, peer: PeerId) -> None:
        """Drop what is kept for a connection."""
        self._users.pop(peer, None)

    def close(self, *, linger: float = 0.0) -> None:
        self._reader.close()
        self.socket.close(linger=int(linger * 1000))

    def wait_until_free(self, *, at_most: float) -> None:
        """Wait, after ``close``, until the port can be bound again: ZeroMQ takes its time."""
        host, _, port = self.address.removeprefix("tcp://").rpartition(":")
        host = host.strip("[]")
        family = socketlib.AF_INET6 if ":" in host else socketlib.AF_INET
        ends = time.monotonic() + at_most
        while port and time.monotonic() < ends:
            with socketlib.socket(family) as probe, contextlib.suppress(OSError):
                probe.setsockopt(socketlib.SOL_SOCKET, socketlib.SO_REUSEADDR, 1)
                probe.bind((host, int(port)))
                return
            time.sleep(0.002)

    @property
    def _port(self) -> str:
        return WORKER_PORT if self.is_queue else CLIENT_PORT

    def _is_allowed(self, peer: PeerId, frames: list[zmq.Frame]) -> bool:
        """Return whether the sender's key is still valid; ZeroMQ asked only when it connected."""
        if self.ring is None or not frames:
            return True
        public = public_key_of(frames[0])
        if public is None:
            return True  # inside this process
        user = self.ring.user_of(public, self._port)
        if user is None:
            return False  # its session, if it has one, is ended by ``changed_keys``
        # Results come by a pipe that all workers share, each naming its connection.
        return self._users.setdefault(peer, user).public == user.public


@define(eq=False)
class PushPullEndpoint(RouterEndpoint):
    """A ROUTER socket for control, and pipes for tasks and results."""

    context: Context = field(kw_only=True)
    _pipes: BrokerPipes = field(init=False)

    @property
    def keeps_work_apart(self) -> bool:
        return True

    @property
    def has_more(self) -> bool:
        return self._reader.is_cutting or self._pipes.has_more

    def bind(self, host: str, port: int) -> None:
        self._pipes = BrokerPipes(
            self.context,
            host,
            queue=self.name,
            secure=self.secure,
            strangers=self.strangers,
            statistics=self.statistics,
        )
        self.other_socket = self._pipes.results
        RouterEndpoint.bind(self, host, port)

    def receive(self) -> tuple[PeerId, list[Buffer]] | None:
        # Control first: a heartbeat must not wait behind other workers' results.
        received = RouterEndpoint.receive(self)
        while received is None:
            result = self._pipes.receive()
            if result is None:
                return None
            peer, frames = result
            if self._is_allowed(peer, frames):
                received = peer, [frame.buffer for frame in frames]
        return received

    @property
    def wasted(self) -> float:
        return self._reader.wasted + self._pipes.wasted

    def inspect(self, *, now: float, read_empty: bool) -> bool:
        behind = RouterEndpoint.inspect(self, now=now, read_empty=read_empty)
        return self._pipes.inspect(now=now, read_empty=read_empty) or behind

    def send(self, peer: PeerId, frames: list[Buffer]) -> bool:
        if not self._pipes.carries(peer, frames):
            return RouterEndpoint.send(self, peer, frames)
        if self._pipes.send(peer, frames):
            return True
        if self._pipes.was_used(peer):
            raise UnreachableError
        return False

    def by_pipe(self, peer: PeerId, frames: list[Buffer]) -> bool:
        return self._pipes.carries(peer, frames)

    def stamped(self, peer: PeerId, message: FromBroker) -> FromBroker:
        if not isinstance(message, WorkerWelcome):
            return message
        try:
            tasks_port = self._pipes.open(peer, partial(self._secure_for, peer))
        except ConfigError as error:
            # It gets no answer and introduces itself again later; other workers go on.
            logger.warning("a worker of queue %s gets no pipe: %s", self.name, error)
            raise UnreachableError from error
        return evolve(message, tasks_port=tasks_port, results_port=self._pipes.results_port)

    def _secure_for(self, peer: PeerId, socket: Socket) -> None:
        """Admit the key of this peer alone, where there are keys."""
        user = self._users.get(peer)
        if self.ring is None or user is None:
            self.secure(socket)
        else:
            self.ring.secure(socket, port_for(user.public))

    def forget_peer(self, peer: PeerId) -> None:
        self._pipes.close_pipe(peer)
        RouterEndpoint.forget_peer(self, peer)

    def close(self, *, linger: float = 0.0) -> None:
        self._pipes.close()
        RouterEndpoint.close(self, linger=linger)


def client_endpoint(
    context: Context,
    config: BrokerConfig,
    inproc: str,
    access: AccessControl,
) -> RouterEndpoint:
    """Listen for clients, by TCP and from inside the process.

    Raises:
        PortInUseError: the port is taken.
        ConfigError: the address cannot be bound.
    """
    endpoint = _bound(RouterEndpoint, CLIENTS, context, config, config.port, access)
    try:
        endpoint.socket.bind(inproc)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


def queue_endpoint(
    context: Context,
    config: BrokerConfig,
    name: str,
    queue: QueueConfig,
    access: AccessControl,
) -> RouterEndpoint:
    """Listen for the workers of a queue.

    Raises:
        PortInUseError: the port is taken.
        ConfigError: the address cannot be bound.
    """
    make = (
        partial(PushPullEndpoint, context=context)
        if queue.transport == "pushpull"
        else RouterEndpoint
    )
    return _bound(make, name, context, config, queue.port, access, is_queue=True)


def _bound(
    make: Callable[..., RouterEndpoint],
    name: str,
    context: Context,
    config: BrokerConfig,
    port: int,
    access: AccessControl,
    *,
    is_queue: bool = False,
) -> RouterEndpoint:
    """Make an endpoint that admits the peers that access control allows, and bind it."""
    strangers = access.ring is None and is_loopback(config.host)
    endpoint = make(
        name,
        router(context, backlog=_BACKLOG, strangers=strangers),
        is_queue=is_queue,
        ring=access.ring,
        gate=access.gate,
        strangers=strangers,
        statistics=access.statistics,
    )
    try:
        endpoint.bind(config.host, port)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


def check_exposure(config: BrokerConfig) -> None:
    """Refuse to listen beyond this machine without keys, unless an operator allows it.

    Raises:
        ConfigError: the address is not a loopback one, and there are no keys.
    """
    if objection := exposure(config):
        raise ConfigError(objection)
