"""A client or worker that says exactly what it is told to, over a real socket: for tests."""

from collections import deque
from collections.abc import Sequence
from typing import TypeVar

import zmq

from paintmq.identifiers import new_peer_id
from paintmq.task import Buffer
from paintmq.testing.example_tasks import PATIENCE
from paintmq.transport.pipes import Secure, WorkerConnection, no_keys, send_waiting
from paintmq.transport.sockets import Context, new_context
from paintmq.wire.link import Delivery, Link
from paintmq.wire.messages import ClientHello, Message, WorkerHello, WorkerWelcome
from tests.harness.closing import ClosedAtTheEnd

MessageT = TypeVar("MessageT")


class WirePeer(ClosedAtTheEnd):
    """One DEALER connection, driven by hand."""

    def __init__(
        self,
        endpoint: str,
        hello: ClientHello | WorkerHello | None = None,
        *,
        context: "Context | None" = None,
        secure: Secure = no_keys,
    ) -> None:
        self._owned = new_context() if context is None else None
        used = context if context is not None else self._owned
        assert used is not None
        self.id = new_peer_id()
        self._connection = WorkerConnection(used, endpoint, self.id, secure=secure)
        self.socket = self._connection.sockets[0]
        """The DEALER; what comes by pipe is read with ``hear``."""
        self.link = Link()
        self._heard: list[Delivery] = []
        if hello is not None:
            self.say(hello)

    @property
    def has_pipes(self) -> bool:
        """Whether it was welcomed by a ``pushpull`` queue."""
        return self._connection.has_pipes

    def say(self, message: Message, payloads: Sequence[Buffer] = ()) -> None:
        self.link.send(message, payloads)
        self._flush()

    def say_raw(self, *frames: Buffer, by_pipe: bool = False) -> None:
        """Send frames as they are, whether or not they make sense.

        Raises:
            TimeoutError: they are not taken.
        """
        socket = self._connection.sockets[-1] if by_pipe else self.socket
        socket.setsockopt(zmq.SNDTIMEO, int(PATIENCE * 1000))
        try:
            socket.send_multipart([self.id, *frames] if by_pipe else frames)
        except zmq.Again as error:
            raise TimeoutError("nothing more can be sent") from error

    def hear(self, kind: type[MessageT]) -> MessageT:
        """Wait for a message of that kind; others that come before it are put aside."""
        return self.hear_with_payloads(kind)[0]

    def hear_with_payloads(self, kind: type[MessageT]) -> tuple[MessageT, list[bytes]]:
        while True:
            for place, delivery in enumerate(self._heard):
                if isinstance(delivery.message, kind):
                    del self._heard[place]
                    return delivery.message, [bytes(payload) for payload in delivery.payloads]
            if not zmq.select(list(self._connection.sockets), [], [], PATIENCE)[0]:
                raise TimeoutError(
                    f"no {kind.__name__} came; {len(self._heard)} other messages did"
                )
            self.read()

    def read(self) -> None:
        """Take in everything that has arrived."""
        while (frames := self._connection.receive()) is not None:
            for delivery in self.link.receive(frames):
                welcome = delivery.message
                if isinstance(welcome, WorkerWelcome) and welcome.tasks_port:
                    self._connection.open_pipes(
                        welcome.tasks_port, welcome.results_port, incarnation=welcome.incarnation
                    )
                    self.link.work_apart = True
                self._heard.append(delivery)
        self._flush()

    def put_aside(self) -> list[Message]:
        """Return what has arrived and was not asked for."""
        self.read()
        return [delivery.message for delivery in self._heard]

    def take_all(self) -> list[Message]:
        """Return what has arrived, and keep none of it."""
        return [delivery.message for delivery in self.take_deliveries()]

    def take_deliveries(self) -> list[Delivery]:
        """Return what has arrived with its payloads, and keep none of it."""
        self.read()
        heard, self._heard = self._heard, []
        return heard

    def take_raw(self) -> list[bytes] | None:
        """Return the frames of the next message as they came; None when there is none."""
        frames = self._connection.receive()
        return None if frames is None else [bytes(frame) for frame in frames]

    def wait(self, *others: "WirePeer", patience: float = PATIENCE) -> None:
        """Wait until something has arrived here, or for one of the others.

        Raises:
            TimeoutError: nothing has.
        """
        sockets = [s for peer in (self, *others) for s in peer._connection.sockets]
        if not zmq.select(sockets, [], [], patience)[0]:
            raise TimeoutError("nothing came")

    def close(self) -> None:
        self._connection.close()
        if self._owned is not None:
            self._owned.term()

    def _flush(self) -> None:
        waiting = deque(self.link.outgoing())
        while waiting:
            send_waiting(waiting, self._connection.send, self._connection.carries)
            if waiting:
                by_pipe = self._connection.carries(waiting[0])
                ready = zmq.select(
                    [], [self._connection.sockets[-1 if by_pipe else 0]], [], PATIENCE
                )
                assert ready[1], "nothing more can be sent"
            waiting.extend(self.link.outgoing())
