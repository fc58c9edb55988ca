"""Lets strangers in no faster than what they send can be dealt with.

ZeroMQ bounds what waits of one connection, not the number of connections, and delivers what one
sent before it left. So where no keys are asked for, a connection waits here before it may say
anything: ZeroMQ asks about each (RFC 27), and until it is answered takes nothing more from it.
"""

from collections import deque

import zmq

from paintmq.errors import ConfigError
from paintmq.transport.curve import ZAP_ENDPOINT, ZAP_VERSION
from paintmq.transport.sockets import Context, Socket

AT_ONCE = 4
"""Connections let in together. Each may bring a message that takes long to throw away."""
PACE = 0.002
"""Seconds after letting some in, for what they say to arrive."""
SHARE = 0.1
"""Of the time, at most, that goes into what strangers send in vain."""
LONGEST = 5.0
"""Seconds for which it stays closed; a handshake must not take more than 10."""
MOST_WAITING = 10_000
_DOMAIN = b"paintmq-strangers"


class ConnectionThrottle:
    """Answers for all sockets of one context that it guards."""

    def __init__(self, context: Context) -> None:
        """Begin to answer.

        Raises:
            ConfigError: the context has another handler already.
        """
        self.socket: Socket = context.socket(zmq.ROUTER)
        """To be polled."""
        self.socket.setsockopt(zmq.LINGER, 0)
        self._waiting: deque[list[bytes]] = deque(maxlen=MOST_WAITING)
        self._opens_at = 0.0
        try:
            self.socket.bind(ZAP_ENDPOINT)
        except zmq.ZMQError as error:
            self.socket.close()
            raise ConfigError("this ZeroMQ context has a ZAP handler already") from error

    def __len__(self) -> int:
        """How many wait, as far as is known since ``let_in``."""
        return len(self._waiting)

    def guard(self, socket: Socket) -> None:
        """Have connections to this socket wait here; call it before binding."""
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)

    def charge(self, seconds: float, *, now: float) -> None:
        """Take note of time that went into what strangers sent in vain."""
        opens_at = max(self._opens_at, now) + seconds * (1 / SHARE - 1)
        self._opens_at = min(opens_at, now + LONGEST)

    def let_in(self, *, now: float, is_calm: bool) -> None:
        """Let some in, if it is time; all but one only while nothing else waits to be read."""
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
        """Return the seconds until ``let_in`` has something to do; None: until somebody comes."""
        return max(0.0, self._opens_at - now) if self._waiting else None

    def close(self) -> None:
        self.socket.unbind(ZAP_ENDPOINT)  # closing alone frees the address some time later
        self.socket.close(linger=0)
