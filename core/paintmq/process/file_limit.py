"""How many files a broker's process may have open: one for each connection and for each payload
that is being written; a journal that can open none has to wait.
"""

import contextlib
import resource

from attrs import evolve

from paintmq.config import Config, Limits

RESERVE = 128
"""For the journal, listening sockets and libraries."""
_PIPED = 5
"""Of a worker with pipes: three connections, a port of its own, and its socket."""


def limit() -> int:
    """Return how many this process may open now."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most() -> int:
    """Return how many it could be allowed without another user's leave."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def wanted(config: Config) -> int:
    """Return how many files a broker may come to need."""
    return RESERVE + config.limits.max_peers * _for_a_pair(config)


def allow(count: int) -> None:
    """Let this process open ``count`` files, or as many as it may; never fewer than before."""
    allowed = most() if most() != resource.RLIM_INFINITY else count
    if limit() != resource.RLIM_INFINITY and limit() < min(count, allowed):
        # A system may report no limit and refuse the number all the same.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, allowed), most()))


def peers_within(files: int, config: Config) -> int:
    """Return how many clients, and as many workers, can be served with ``files`` open files."""
    if files == resource.RLIM_INFINITY:
        return config.limits.max_peers
    room = max(1, (files - RESERVE) // _for_a_pair(config))
    return min(config.limits.max_peers, room)


def limits_within(config: Config) -> Limits:
    """Return the limits, with no more peers than this process may open files for."""
    return evolve(config.limits, max_peers=peers_within(limit(), config))


def _for_a_pair(config: Config) -> int:
    """Return how many files a client and a worker need together."""
    piped = any(queue.transport == "pushpull" for queue in config.queues.values())
    return 1 + (_PIPED if piped else 1)
