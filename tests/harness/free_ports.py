"""Ports that were free a moment ago, for programs whose ports must be known in advance."""

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens: a broker that comes back needs those it had."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
