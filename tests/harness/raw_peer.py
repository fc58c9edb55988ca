"""ZMTP spoken byte by byte over plain TCP, for peers that do what no ZeroMQ library would.

``python -m tests.harness.raw_peer ENDPOINT`` is one that floods its broker and reads nothing.
"""

import select
import socket
import sys
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from paintmq.wire.codec import encode
from paintmq.wire.messages import ClientHello, Message

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
"""Of ZMTP 3.0, without keys."""


def ready(kind: bytes) -> bytes:
    """Return what a socket of this kind says of itself: ``b"DEALER"``, ``b"PUSH"``."""
    said = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4) + kind + b"\x08Identity" + bytes(4)
    return b"\x04" + bytes([len(said)]) + said


READY = ready(b"DEALER")


def frame(data: bytes, *, more: bool = False) -> bytes:
    """Return the bytes of one frame of a message."""
    if len(data) < 256:
        return bytes([more, len(data)]) + data
    return bytes([2 | more]) + len(data).to_bytes(8) + data


class RawPeer:
    """A TCP connection to a broker's port. What is not read stays unread."""

    def __init__(self, endpoint: str, *, timeout: float = 20.0) -> None:
        where = urlsplit(endpoint)
        self.socket = socket.create_connection((where.hostname, where.port), timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def shake_hands(self, kind: bytes = b"DEALER") -> None:
        """Become a socket of that kind; a DEALER's routing id the broker chooses."""
        self.say(GREETING)
        self.read(len(GREETING))
        self.say(ready(kind))
        begin = self.read(2)
        self.read(begin[1])

    def say(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def say_message(self, message: Message) -> None:
        self.say(frame(encode(message)))

    def read(self, size: int) -> bytes:
        """Return exactly ``count`` bytes, as TCP may bring them in parts.

        Raises:
            ConnectionError: the broker hung up.
        """
        received = b""
        while len(received) < size:
            more = self.socket.recv(size - len(received))
            if not more:
                raise ConnectionError("the broker hung up")
            received += more
        return received

    def wait_until_answered(self) -> None:
        """Wait for bytes of the broker, and leave them where they are."""
        select.select([self.socket], [], [])

    def say_all_that_fits(self, data: bytes) -> int:
        """Repeat it until the broker takes nothing more; return how many bytes it took."""
        taken = 0
        self.socket.settimeout(0)
        while select.select([], [self.socket], [], 0.5)[1]:
            taken += self.socket.send(data)
        return taken


def main() -> None:
    """Wait for a line before the flood; the answer to the hello is never read."""
    with RawPeer(sys.argv[1]) as peer:
        peer.shake_hands()
        peer.say_message(ClientHello(name="flood"))
        peer.wait_until_answered()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        taken = peer.say_all_that_fits(frame(encode(ClientHello(name="flood"))) * 100)
        sys.stdout.write(f"{taken} bytes were taken\n")
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    main()
