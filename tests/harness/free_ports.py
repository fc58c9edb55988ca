"""Ports for programs whose ports must be known in advance, as those of a broker that comes back.

They lie below those that the system gives to outgoing connections: whoever connects while a broker
is down would be given its port. A counter that all tests of this machine share hands each port to
one of them, so that two that start at once do not pick the same.
"""

import fcntl
import random
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

_LOWEST, _HIGHEST = 20_000, 32_000
"""Linux connects from 32768 on, others from 49152."""


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens, and that no other test is given soon."""
    found: list[int] = []
    while len(found) < count:
        port = _next_port()
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def _next_port() -> int:
    counter = Path(tempfile.gettempdir(), "paintmq-tests-next-port")
    with counter.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        said = file.read()
        port = int(said) if said else random.randrange(_LOWEST, _HIGHEST)
        file.truncate(0)
        file.write(str(port + 1 if port + 1 < _HIGHEST else _LOWEST))
        return port
