"""Admits connections without a key no faster than their input can be dealt with.

ZeroMQ limits what is queued from one connection, not the number of connections, and it delivers
what a peer sent before it left. So where no keys are in use, a connection waits here before it may
send anything: ZeroMQ asks about each one (RFC 27), and reads nothing from it until it is answered.
"""

from collections import deque

import zmq

from paintmq.errors import ConfigError
from paintmq.transport.curve import ZAP_ENDPOINT, ZAP_VERSION
from paintmq.transport.sockets import Context, Socket

AT_ONCE = 4
"""Connections admitted together. Each may bring a message that takes long to discard."""
PACE = 0.002
"""Seconds after admitting some, for their first messages to arrive."""
SHARE = 0.1
"""Of the loop's time, at most, that is spent on their useless input."""
LONGEST = 5.0
"""Most seconds for which it stays closed; a handshake must not take more than 10."""
MOST_WAITING = 10_000
_DOMAIN = b"paintmq-strangers"


class ConnectionThrottle:
    """Answers ZeroMQ for all guarded sockets of one context."""

    def __init__(self, context: Context) -> None:
        """Start to answer.

        Raises:
            ConfigError: the context has another handler already.
        """
        self.socket: Socket = context.socket(zmq.ROUTER)
        """Poll it."""
        self.socket.setsockopt(zmq.LINGER, 0)
        self._waiting: deque[list[bytes]] = deque(maxlen=MOST_WAITING)
        self._opens_at = 0.0
        try:
            self.socket.bind(ZAP_ENDPOINT)
        except zmq.ZMQError as error:
            self.socket.close()
            raise ConfigError("this ZeroMQ context has a ZAP handler already") from error

    def __len__(self) -> int:
        """How many were waiting at the last ``let_in``."""
        return len(self._waiting)

    def guard(self, socket: Socket) -> None:
        """Make connections to this socket wait here; call it before binding."""
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)

    def charge(self, seconds: float, *, now: float) -> None:
        """Stay closed for longer: that much time was spent on useless input."""
        opens_at = max(self._opens_at, now) + seconds * (1 / SHARE - 1)
        self._opens_at = min(opens_at, now + LONGEST)

    def let_in(self, *, now: float, is_calm: bool) -> None:
        """Admit some connections if it is time: only one while anything else waits to be read."""
        try:
            while True:
                self._waiting.append(self.socket.recv_multipart(zmq.DONTWAIT))
        except zmq.Again:
            pass
        if now < self._opens_at or not self._waiting:
            return
        for _ in range(min(AT_ONCE if is_calm else 1, len(self._waiting))):
            asker, delimiter, _, request, *_ = self._waiting.popleft()
            answer = [ZAP_VERSION, request, b"200", b"", b"", b""]
            self.socket.send_multipart([asker, delimiter, *answer], zmq.DONTWAIT)
        self._opens_at = now + PACE

    def wait(self, *, now: float) -> float | None:
        """Return the seconds until ``let_in`` has something to do; None: nothing is waiting."""
        return max(0.0, self._opens_at - now) if self._waiting else None

    def close(self) -> None:
        self.socket.unbind(ZAP_ENDPOINT)  # closing alone frees the address some time later
        self.socket.close(linger=0)
