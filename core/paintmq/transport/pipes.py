"""The ``pushpull`` transport of a queue: tasks and results go by PUSH and PULL.

Every worker's connection gets a PUSH of its own, so that a task goes where the broker decided and
the pipe of a dead worker loses only that worker's tasks. Results of all workers arrive at one PULL,
each message led by the id of its connection. Everything else (hellos, heartbeats, starts,
acknowledgements, cancels, credits) stays on the ROUTER and DEALER of the ``router`` transport.

Only the broker binds, so workers may be behind a NAT. A send is never an acknowledgement here
either: fences, leases and repeated endings work as in the other transport.
"""

from collections import deque
from collections.abc import Callable, Container, Sequence
from math import inf
from urllib.parse import urlsplit

import zmq

from paintmq.errors import ConfigError
from paintmq.statistics import ShellStatistics
from paintmq.task import Buffer, PeerId
from paintmq.transport.connection_watch import ConnectionWatch
from paintmq.transport.multipart import (
    MultipartReader,
    has_message,
    receive_frames,
    send_frames,
)
from paintmq.transport.sockets import Context, Socket, bind, connect, dealer, pull, push
from paintmq.wire.frames import is_work
from paintmq.wire.link import MAX_FRAMES

Secure = Callable[[Socket], None]
"""Sets the keys of a socket before it is bound or connected."""


def no_keys(socket: Socket) -> None:
    """Leave a socket without keys."""


def send_waiting(
    waiting: deque[list[Buffer]],
    send: Callable[[list[Buffer]], bool],
    by_pipe: Callable[[list[Buffer]], bool],
) -> None:
    """Send what can be sent, in order; a way that takes nothing holds up only itself.

    Args:
        waiting: the multipart messages; those sent are removed.
        send: returns False where nothing more is taken for now.
        by_pipe: which of the two ways a message takes.
    """
    closed: set[bool] = set()
    for _ in range(len(waiting)):
        frames = waiting.popleft()
        way = by_pipe(frames)
        if way in closed or not send(frames):
            closed.add(way)
            waiting.append(frames)


class BrokerPipes:
    """The broker's side of one queue."""

    def __init__(
        self,
        context: Context,
        host: str,
        *,
        queue: str,
        secure: Secure = no_keys,
        strangers: bool = False,
        statistics: ShellStatistics | None = None,
    ) -> None:
        """Listen for results; ``strangers``: whether any local program may connect without a key.

        Raises:
            ConfigError: the address cannot be bound.
        """
        self._context = context
        self._host = host
        self._queue = queue
        self._secure = secure
        self._pipes: dict[PeerId, Socket] = {}
        self._ports: dict[PeerId, int] = {}
        self._used: dict[PeerId, bool] = {}
        self.results = pull(context, connects=False, strangers=strangers)
        """To be polled; read it with ``receive``."""
        # A worker may have no results for long.
        watch = ConnectionWatch(
            self.results, silence=inf, strangers=strangers, statistics=statistics
        )
        self._reader = MultipartReader(self.results, most_frames=1 + MAX_FRAMES, watch=watch)
        try:
            self.results_port = self._listen(self.results, "results", secure)
        except BaseException:
            self._reader.close()
            self.results.close()
            raise

    def inspect(self, *, now: float, read_empty: bool) -> bool:
        """Inspect the connections that bring results; see ``ConnectionWatch.inspect``."""
        return self._reader.inspect(now=now, read_empty=read_empty)

    @property
    def wasted(self) -> float:
        """Estimated seconds spent so far on useless input."""
        return self._reader.wasted

    def open(self, peer: PeerId, secure: Secure | None = None) -> int:
        """Return the port where this peer gets its tasks; the first call opens it.

        ``secure`` admits this peer alone, if keys can tell it from others: whoever connects to the
        port takes tasks out of it.

        Raises:
            ConfigError: no socket can be made, or no port bound.
        """
        if peer not in self._pipes:
            try:
                pipe = push(self._context, connects=False)
            except zmq.ZMQError as error:
                raise ConfigError(f"no socket can be made: {error.strerror}") from error
            try:
                self._ports[peer] = self._listen(pipe, "tasks", secure or self._secure)
            except BaseException:
                pipe.close()
                raise
            self._pipes[peer] = pipe
        return self._ports[peer]

    def carries(self, peer: PeerId, frames: Sequence[Buffer]) -> bool:
        """Return whether these frames go by the pipe of this peer."""
        return peer in self._pipes and is_work(frames[0])

    def send(self, peer: PeerId, frames: Sequence[Buffer]) -> bool:
        """Send, or return False while the other end of the pipe is not connected."""
        try:
            send_frames(self._pipes[peer], frames)
        except zmq.Again:
            return False
        self._used[peer] = True
        return True

    def was_used(self, peer: PeerId) -> bool:
        """Return whether the worker was ever connected: if it is not now, it is gone."""
        return peer in self._used

    def receive(self) -> tuple[PeerId, list[zmq.Frame]] | None:
        """Return the next message of a peer that has a pipe, or None when there is none.

        Anything else is dropped: it is late, or its sender has guessed an id.
        """
        while (received := self._reader.receive()) is not None:
            session, *frames = received
            if self._reader.is_cutting:
                self._reader.hang_up(session)
                return None
            peer = PeerId(session.bytes)
            if peer in self._pipes and frames:
                return peer, frames
        return None

    @property
    def has_more(self) -> bool:
        """Whether ``receive`` has something to do although it returned None."""
        return self._reader.is_cutting

    def close_pipe(self, peer: PeerId) -> None:
        """Close a peer's pipe and drop whatever is in it; harmless when it has none."""
        pipe = self._pipes.pop(peer, None)
        if pipe is not None:
            del self._ports[peer]
            self._used.pop(peer, None)
            pipe.close(linger=0)

    def close(self) -> None:
        for peer in list(self._pipes):
            self.close_pipe(peer)
        self._reader.close()
        self.results.close(linger=0)

    def _listen(self, socket: Socket, what: str, secure: Secure) -> int:
        secure(socket)
        endpoint = bind(socket, self._host, 0, purpose=f"{what} of queue {self._queue!r}")
        return int(endpoint.rsplit(":", 1)[1])


class WorkerConnection:
    """A worker's side: a DEALER, and the two pipes once the broker has named their ports."""

    def __init__(
        self, context: Context, endpoint: str, peer: PeerId, *, secure: Secure = no_keys
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._peer = peer
        self._secure = secure
        self._tasks: Socket | None = None
        self._results: Socket | None = None
        self._session: tuple[int, int, int] | None = None
        self._control = dealer(context, peer)
        self._join(self._control, endpoint)

    @property
    def sockets(self) -> tuple[Socket, ...]:
        """All of its sockets, to be polled."""
        return (self._control, *self._pipes)

    @property
    def _pipes(self) -> tuple[Socket, ...]:
        return tuple(pipe for pipe in (self._tasks, self._results) if pipe is not None)

    @property
    def has_pipes(self) -> bool:
        return self._tasks is not None

    def watched(self, blocked: Container[bool]) -> list[tuple[Socket, bool]]:
        """Return the sockets to poll, each with whether to poll it for room to send, too.

        ``blocked`` are the ways (by pipe or not) on which something waits to be sent. Polling a
        socket that has room on behalf of one that has none would keep the poller spinning.
        """
        watched = [(self._control, False in blocked)]
        if self._tasks is not None and self._results is not None:
            watched += [(self._tasks, False), (self._results, True in blocked)]
        return watched

    def open_pipes(self, tasks_port: int, results_port: int, *, incarnation: int) -> None:
        """Use pipes of this broker for tasks and results from now on; harmless to repeat.

        Pipes that another incarnation of the broker named, or other ports, are closed: whatever is
        in them was meant for a session that has ended.
        """
        session = incarnation, tasks_port, results_port
        if session == self._session:
            return
        for pipe in self._pipes:
            pipe.close(linger=0)
        self._session = session
        self._tasks = pull(self._context, connects=True)
        self._join(self._tasks, self._at_port(tasks_port))
        self._results = push(self._context, connects=True)
        self._join(self._results, self._at_port(results_port))

    def receive(self) -> list[Buffer] | None:
        """Return the frames of the next message, or None when there is none."""
        for socket in (self._control, self._tasks):
            if socket is not None and has_message(socket):
                try:
                    return receive_frames(socket)
                except zmq.Again:
                    pass  # it was of a connection that has been cut
        return None

    def carries(self, frames: Sequence[Buffer]) -> bool:
        """Return whether these frames go by the pipe for results."""
        return self.has_pipes and is_work(frames[0])

    def send(self, frames: Sequence[Buffer]) -> bool:
        """Send, or return False while the broker cannot be reached that way."""
        try:
            if self._results is not None and self.carries(frames):
                message = [self._peer, *frames]
                send_frames(self._results, message)
            else:
                send_frames(self._control, frames)
        except zmq.Again:
            return False
        return True

    def close(self, *, linger: float = 0.0) -> None:
        """Close all sockets; what is still queued may leave within ``linger`` seconds."""
        for socket in self.sockets:
            socket.close(linger=int(linger * 1000))

    def _join(self, socket: Socket, endpoint: str) -> None:
        self._secure(socket)
        connect(socket, endpoint)

    def _at_port(self, port: int) -> str:
        """Return the address of another port of the same broker."""
        host = urlsplit(self._endpoint).hostname or ""
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
