"""Everything that belongs to one session with the broker, and ends with it.

Rule: nothing of it outlives the session. Sockets, pipes, credits and what could not be sent yet are
those of one incarnation of the broker, so each connection gets an object of its own.
"""

from collections import deque
from collections.abc import Callable, Sequence

from paintmq.shared_memory.worker_arenas import WorkerArenas
from paintmq.task import Buffer, PeerId
from paintmq.transport.curve import secure_with
from paintmq.transport.key_files import PeerKey
from paintmq.transport.pipes import WorkerConnection, no_keys, send_waiting
from paintmq.transport.sockets import Context
from paintmq.wire.link import Delivery, Link
from paintmq.wire.messages import FromWorker, WorkerWelcome
from paintmq.wire.outlines import KnownOutlines
from paintmq.worker.agent.readable_messages import send_readable
from paintmq.worker.agent.readiness import Readiness


class BrokerConnection:
    """A worker's sockets, watched by its node's loop, and the traffic on them."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        peer: PeerId,
        *,
        key: PeerKey | None,
        readiness: Readiness,
        ready: Callable[[], None],
    ) -> None:
        """Connect; ``ready`` is called when something has come, or more can be sent."""
        self._readiness = readiness
        self._ready = ready
        self._sockets = WorkerConnection(
            context,
            endpoint,
            peer,
            secure=no_keys if key is None else lambda socket: secure_with(socket, key),
        )
        self._link = Link()
        self._link.sharing = WorkerArenas()
        self._readable = KnownOutlines()
        self._blocked: deque[list[Buffer]] = deque()
        self._blocked_ways: set[bool] = set()
        self.held_back: Sequence[Delivery] = ()
        """What is not read yet because it is open whose broker this is, its welcome first."""
        self._watch()

    def receive(self) -> list[Delivery] | None:
        """Return what the next ZeroMQ message completes; None when there is none.

        Raises:
            WireError: it is not understood; only a new connection helps.
        """
        frames = self._sockets.receive()
        if frames is None:
            return None
        return self._link.receive(frames)

    def hold(self, deliveries: Sequence[Delivery]) -> None:
        """Keep these, and leave what follows them in the sockets, until ``release`` is called."""
        self.held_back = deliveries
        for socket in self._sockets.sockets:
            self._readiness.forget(socket)

    def release(self) -> Sequence[Delivery]:
        """Return what was held back; what follows it is announced again."""
        deliveries, self.held_back = self.held_back, ()
        self._watch()
        return deliveries

    def open_pipes(self, welcome: WorkerWelcome) -> None:
        """Use the pipes that the broker names, if it names any; harmless to repeat."""
        if not welcome.tasks_port:
            return
        before = self._sockets.sockets
        self._sockets.open_pipes(
            welcome.tasks_port, welcome.results_port, incarnation=welcome.incarnation
        )
        for closed in set(before) - set(self._sockets.sockets):
            self._readiness.forget(closed)
        self._link.work_apart = True
        self._watch()

    def send(self, message: FromWorker, payloads: Sequence[Buffer] = ()) -> None:
        """Queue the message for ``flush``, if the broker can read it: models have made parts of it.

        Raises:
            WireError: it could not.
            ValueError: the payloads are not those that it describes.
        """
        send_readable(self._link, message, payloads, self._readable)

    def flush(self) -> None:
        """Hand to ZeroMQ what it takes now."""
        self._blocked.extend(self._link.outgoing())
        send_waiting(self._blocked, self._sockets.send, self._sockets.carries)
        ways = {self._sockets.carries(frames) for frames in self._blocked}
        if ways != self._blocked_ways:
            self._blocked_ways = ways
            self._watch()

    def close(self, *, linger: float = 0.0) -> None:
        """Close all sockets; what was sent last may still leave within ``linger`` seconds."""
        for socket in self._sockets.sockets:
            self._readiness.forget(socket)
        self._sockets.close(linger=linger)

    def _watch(self) -> None:
        if self.held_back:
            return  # it would be announced in every turn; each turn flushes anyway
        for socket, write in self._sockets.watched(self._blocked_ways):
            self._readiness.watch(socket, self._ready, write=write)
