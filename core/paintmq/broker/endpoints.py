"""The broker's listening sockets: one for clients, one for each queue's workers."""

import ipaddress

import zmq
from attrs import define

from paintmq.broker.peers import UnreachableError
from paintmq.broker.stores import Buffer
from paintmq.config import BrokerConfig, QueueConfig
from paintmq.errors import ConfigError
from paintmq.task import PeerId
from paintmq.transport.sockets import Context, Socket, bind, router

CLIENTS = "clients"
_BACKLOG = 256
"""Messages of up to 256 KiB that wait inside ZeroMQ for one peer; more wait in its line."""


@define(eq=False)
class RouterEndpoint:
    """A ROUTER socket."""

    name: str
    socket: Socket
    is_queue: bool
    address: str = ""

    def bind(self, host: str, port: int) -> None:
        purpose = f"queue {self.name!r}" if self.is_queue else self.name
        self.address = bind(self.socket, host, port, purpose=purpose)

    def receive(self) -> tuple[PeerId, list[Buffer]] | None:
        """Return the next message, or None when there is none."""
        try:
            peer, *frames = self.socket.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        return PeerId(peer.bytes), [frame.buffer for frame in frames]

    def send(self, peer: PeerId, frames: list[Buffer]) -> bool:
        try:
            self.socket.send_multipart([peer, *frames], zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                raise UnreachableError from error
            raise
        return True

    def close(self, *, linger: float = 0.0) -> None:
        self.socket.close(linger=int(linger * 1000))


def client_endpoint(context: Context, config: BrokerConfig, inproc: str) -> RouterEndpoint:
    """Listen for clients, by TCP and from inside the process.

    Raises:
        PortInUseError: the port is taken.
        ConfigError: the address cannot be bound.
    """
    endpoint = RouterEndpoint(CLIENTS, router(context, backlog=_BACKLOG), is_queue=False)
    try:
        endpoint.bind(config.host, config.port)
        endpoint.socket.bind(inproc)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


def queue_endpoint(
    context: Context, config: BrokerConfig, name: str, queue: QueueConfig
) -> RouterEndpoint:
    """Listen for the workers of a queue.

    Raises:
        PortInUseError: the port is taken.
        ConfigError: the address cannot be bound.
    """
    endpoint = RouterEndpoint(name, router(context, backlog=_BACKLOG), is_queue=True)
    try:
        endpoint.bind(config.host, queue.port)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


def check_exposure(config: BrokerConfig) -> None:
    """Refuse to listen to strangers unless an operator said so.

    Raises:
        ConfigError: the address is not a loopback one.
    """
    try:
        loopback = ipaddress.ip_address(config.host).is_loopback
    except ValueError:
        loopback = config.host == "localhost"
    if not loopback and not config.insecure:
        raise ConfigError(
            f"broker.host = {config.host!r} can be reached from other machines, and whoever "
            f"reaches it may run tasks: use 127.0.0.1, or set broker.insecure = true if the "
            f"network is trusted"
        )
