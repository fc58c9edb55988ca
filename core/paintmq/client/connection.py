"""One connection of a client: a DEALER with a fresh peer id, and the link that frames messages."""

import logging
import re
from collections import deque
from collections.abc import Sequence
from math import inf
from time import monotonic

import zmq

from paintmq.client.task import Payload
from paintmq.errors import ConfigError
from paintmq.identifiers import new_peer_id
from paintmq.shared_memory.client_arena import ClientArena
from paintmq.task import Buffer, TaskId
from paintmq.transport.addresses import endpoints_in
from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import PeerKey
from paintmq.transport.multipart import has_message, receive_frames, send_frames
from paintmq.transport.sockets import Context, Socket, connect, dealer
from paintmq.wire.link import COALESCED_ITEMS, Delivery, Link
from paintmq.wire.messages import FromClient, Heartbeat, ResultReceived, Submit

logger = logging.getLogger(__name__)

_ENDPOINT = re.compile(r"tcp://[^,]+:[0-9]{1,5}|ipc://.+|inproc://.+")

CONFIRM_AFTER = 0.01
"""Seconds a confirmation of a result waits for another message to go with: the next submission of a
program that runs one task after the other. The broker only forgets the result so much later."""

_READ, _READ_OR_WRITE = int(zmq.POLLIN), int(zmq.POLLIN | zmq.POLLOUT)

MESSAGES_A_TURN = 200
"""Read at most, before orders and deadlines get their turn."""


def check_endpoint(endpoint: object) -> None:
    """Check that ZeroMQ could connect to this address.

    Raises:
        ConfigError: it could not.
    """
    text = endpoint if isinstance(endpoint, str) else ""
    wrong = [each for each in endpoints_in(text) if not _ENDPOINT.fullmatch(each)]
    if wrong:
        what = f"{wrong[0]!r} in endpoint" if "," in text else "endpoint"
        raise ConfigError(
            f"{what} {endpoint!r} is no address of a broker: write tcp://HOST:PORT, such as"
            " tcp://127.0.0.1:5550; several, with commas between, for brokers that stand by for"
            " each other"
        )
    if "," in text and any(not each.startswith("tcp://") for each in endpoints_in(text)):
        raise ConfigError(f"endpoint {endpoint!r}: only tcp:// addresses can stand in a list")


def check_context(context: object) -> None:
    """Check that sockets can be made in this context, if one is given.

    Raises:
        ConfigError: they could not.
    """
    if context is not None and not isinstance(context, zmq.Context):
        raise ConfigError(
            f"context is of type {type(context).__name__}, but must be a zmq.Context: leave it out,"
            " and the client makes its own"
        )


class Connection:
    """Sends and receives messages; belongs to one thread and never blocks it.

    A connection that cannot even be opened (no descriptor is left, the host's name is malformed)
    is one that nothing arrives by: its owner will try another one in time, as for a silent broker.
    """

    def __init__(
        self,
        context: Context,
        endpoint: str,
        key: PeerKey | None = None,
        *,
        watched: bool = False,
    ) -> None:
        """Connect; ``watched``: ``is_lost`` tells of a connection that ended."""
        self._socket = _connected(context, endpoint, key)
        self._monitor: Socket | None = None
        if watched and self._socket is not None:
            self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.is_lost = False
        """Whether the other side, or its system, has ended the connection."""
        self.arena = ClientArena()
        """What it has in common with the broker; empty where they are on two machines."""
        self._link = Link()
        self._link.sharing = self.arena
        self._poller = zmq.Poller()
        self._watched: tuple[int, int] | None = None
        self._may_read = False
        """Something has come, as far as the last wait could tell."""
        self._unsent: deque[list[Buffer]] = deque()
        self._confirmations: list[ResultReceived] = []
        self._confirm_at = inf
        """When they are sent though nothing else is."""
        self._submitting: dict[TaskId, None] = {}
        """Submissions that may not have left yet: repeating one would only lengthen the line."""

    def send(self, message: FromClient | Heartbeat) -> None:
        """Queue the message.

        Raises:
            WireError: it is larger than the protocol allows.
        """
        if isinstance(message, ResultReceived):
            self._confirm_at = min(self._confirm_at, monotonic() + CONFIRM_AFTER)
            self._confirmations.append(message)
        else:
            self._link.send(message)

    def submit(self, message: Submit, payloads: Sequence[Payload]) -> None:
        """Queue a submission with its inputs.

        Raises:
            WireError: it is larger than the protocol allows.
        """
        if message.task.id not in self._submitting:
            self._submitting[message.task.id] = None
            self._link.send(message, payloads)

    def receive(self) -> list[Delivery]:
        """Return what has arrived, a limited amount at a time.

        Raises:
            WireError: what arrived is no message of the protocol.
        """
        deliveries: list[Delivery] = []
        if self._socket is None or not self._may_read:
            return deliveries  # to try and fail would cost more than all else of such a turn
        for _ in range(MESSAGES_A_TURN):
            try:
                frames = receive_frames(self._socket)
            except zmq.Again:
                break
            deliveries += self._link.receive(frames)
            if not has_message(self._socket):
                break
        return deliveries

    def send_what_may_go(self, *, at_once: bool = False) -> None:
        """Send what the socket takes without blocking; the rest follows when there is room.

        Confirmations of results wait a little, unless ``at_once``, for something to go with.
        """
        self._link.share(self.arena.take_released())
        if self._confirmations and (
            at_once
            or not self._link.is_idle
            or len(self._confirmations) >= COALESCED_ITEMS
            or self._confirm_at <= monotonic()
        ):
            for confirmation in self._confirmations:
                self._link.send(confirmation)
            self._confirmations.clear()
            self._confirm_at = inf
        while self._socket is not None:
            if not self._unsent:
                self._unsent.extend(self._link.outgoing())
            if not self._unsent:
                if self._link.is_idle:
                    self._submitting.clear()
                return
            try:
                send_frames(self._socket, self._unsent[0])
            except zmq.Again:
                return
            self._unsent.popleft()

    def wait(self, waker: int, seconds: float) -> bool:
        """Wait for a message, for room to send, or for the waker to become readable.

        Returns whether the waker is.
        """
        wanted = _READ_OR_WRITE if self._unsent else _READ
        if self._watched != (waker, wanted):
            self._watched = (waker, wanted)
            self._poller.register(waker, _READ)
            if self._socket is not None:
                self._poller.register(self._socket, wanted)
            if self._monitor is not None:
                self._poller.register(self._monitor, _READ)
        if self._confirmations:
            seconds = min(seconds, max(0.0, self._confirm_at - monotonic()))
        self._may_read = woken = False
        for source, _ in self._poller.poll(int(seconds * 1000) + 1):
            if source == waker:
                woken = True
            elif source is self._monitor:
                self._monitor.recv_multipart(zmq.DONTWAIT)
                self.is_lost = True
            else:
                self._may_read = True
        return woken

    def flush(self, seconds: float) -> None:
        """Send everything that is queued, for ``seconds`` at most."""
        if self._socket is None:
            return
        deadline = monotonic() + seconds
        self.send_what_may_go(at_once=True)
        while (self._unsent or not self._link.is_idle) and (left := deadline - monotonic()) > 0:
            # A large submission leaves in bursts, each let go by credits that have to be read.
            self._socket.poll(int(left * 1000) + 1, _READ_OR_WRITE if self._unsent else _READ)
            self._may_read = True
            self.receive()
            self.send_what_may_go()

    def close(self, linger: float = 0.0) -> None:
        """Close at once; what ZeroMQ still holds gets ``linger`` seconds, in its own thread."""
        self.arena.close()
        if self._socket is not None and self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(0)
            self._monitor = None
        if self._socket is not None:
            self._socket.close(int(linger * 1000))


def _connected(context: Context, endpoint: str, key: PeerKey | None) -> Socket | None:
    opened = None
    try:
        opened = dealer(context, new_peer_id())
        if key is not None:
            secure_with(opened, key)
        connect(opened, endpoint)
    except zmq.ZMQError as error:
        logger.warning("no connection to %s can be opened: %s", endpoint, error)
        if opened is not None:
            opened.close(0)
        return None
    return opened
