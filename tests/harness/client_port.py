"""The broker's port for clients, which says exactly what a test tells it to, over a real socket."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import zmq

from paintmq.errors import WireError
from paintmq.task import Buffer, PeerId, TaskId
from paintmq.transport.sockets import new_context, router
from paintmq.wire.link import Link
from paintmq.wire.messages import (
    BrokerHeartbeat,
    ClientHello,
    Heartbeat,
    Message,
    Submit,
    ToClient,
    Welcome,
)

Reply = tuple[ToClient, Sequence[Buffer]]
M = TypeVar("M")


class ScriptedBroker:
    """Welcomes every client, keeps what it hears, and answers what the test's rules say."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.payloads: dict[TaskId, tuple[bytes, ...]] = {}
        self.peers: list[PeerId] = []
        self.rules: dict[type, Callable[[Any], Sequence[Reply | ToClient]]] = {
            ClientHello: lambda _: [Welcome(incarnation=1, durable_sequence=0, heartbeat=0.2)],
            Heartbeat: lambda _: [BrokerHeartbeat()],
        }
        self._changed = threading.Condition()
        self._outbox: list[Reply] = []
        self._raw: list[bytes] = []
        self._stopping = False
        self._context = new_context()
        self._socket = router(self._context)
        self._socket.bind("tcp://127.0.0.1:*")
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        self.endpoint = endpoint.rstrip(b"\0").decode()
        self._links: dict[PeerId, Link] = {}
        self._thread = threading.Thread(target=self._run, name="scripted broker")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()
        self._socket.close()
        self._context.term()

    def when(self, kind: type[M], answer: Callable[[M], Sequence[Reply | ToClient]]) -> None:
        """Answer every message of the kind so."""
        self.rules[kind] = answer

    def say(self, message: ToClient, payloads: Sequence[Buffer] = ()) -> None:
        """Say something to the client that spoke last."""
        with self._changed:
            self._outbox.append((message, payloads))

    def say_raw(self, frame: bytes) -> None:
        """Send the client that spoke last what is no message."""
        with self._changed:
            self._raw.append(frame)

    def wait_for(self, kind: type[M], count: int = 1) -> list[M]:
        """Wait for at least ``count`` messages of the kind, and return them."""
        with self._changed:
            found = self._changed.wait_for(lambda: len(self.of(kind)) >= count, timeout=30)
            assert found, f"heard {self.heard}, not {count} {kind.__name__}"
            return self.of(kind)

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.heard if isinstance(message, kind)]

    def _run(self) -> None:
        while not self._stopping:
            if self._socket.poll(10):
                peer, *frames = self._socket.recv_multipart()
                self._received(PeerId(peer), frames)
            if not self.peers:
                continue  # what is to be sent waits until a client has connected
            with self._changed:
                outbox, self._outbox = self._outbox, []
                raw, self._raw = self._raw, []
            for frame in raw:
                self._socket.send_multipart([self.peers[-1], frame])
            for message, payloads in outbox:
                self._send(self.peers[-1], message, payloads)

    def _received(self, peer: PeerId, frames: Sequence[bytes]) -> None:
        if peer not in self._links:
            self._links[peer] = Link()
            self.peers.append(peer)
        try:
            deliveries = self._links[peer].receive(frames)
        except WireError as error:
            raise AssertionError(f"the client sent nonsense: {error}") from error
        for delivery in deliveries:
            message = delivery.message
            with self._changed:
                if isinstance(message, Submit):
                    self.payloads[message.task.id] = tuple(bytes(p) for p in delivery.payloads)
                self.heard.append(message)
                self._changed.notify_all()
            for reply in self.rules.get(type(message), lambda _: [])(message):
                said, payloads = reply if isinstance(reply, tuple) else (reply, ())
                self._send(peer, said, payloads)
        self._flush(peer)

    def _send(self, peer: PeerId, message: ToClient, payloads: Sequence[Buffer]) -> None:
        self._links[peer].send(message, payloads)
        self._flush(peer)

    def _flush(self, peer: PeerId) -> None:
        for frames in self._links[peer].outgoing():
            try:
                self._socket.send_multipart([peer, *frames])
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:  # the client has left
                    raise
