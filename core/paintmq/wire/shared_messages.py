"""Messages that clients and workers have in common."""

from attrs import frozen

from paintmq.task import Fence, TaskId
from paintmq.wire.message_class import message

PROTOCOL_VERSION = 4
"""Peers that share no version are refused with a message that says so. Since version 2 digests may
be XXH3, see ``digests.py``; since version 3 payloads may lie in memory that both peers have; since
version 4 workers tell of their models' output and their machine, tasks may carry a trace, and many
messages of a kind may be written as one item, see ``runs.py``."""
SHARING_VERSION = 3
"""Peers that speak it are told of shared memory."""
OBSERVING_VERSION = 4
"""Peers that speak it are told that the broker takes what there is to observe."""
RUNS_VERSION = 4
"""Peers that speak it are sent runs."""
OLDEST_PROTOCOL_VERSION = 1
"""Clients of it are served: a worker answers with digests of the kind that came with the inputs."""
OLDEST_WORKER_VERSION = 2
"""Older workers would take every XXH3 digest for damage."""
OLDEST_BROKER_VERSION = 2
"""For clients: behind an older broker may be older workers."""
FRAMING_VERSION = 1
"""Of headers and bodies: the same in both versions of the protocol, so that an old peer can read
why it is refused."""


@message(0x80)
@frozen
class WhoAreYou:
    """The broker does not know this connection (it was restarted): say hello again."""


@message(0x81)
@frozen
class Refused:
    """The broker will not talk to this peer, and why (protocol version, key, role)."""

    reason: str


@message(0x82)
@frozen
class BrokerHeartbeat:
    """The broker is alive."""


@message(0x83, large=True)
@frozen(kw_only=True)
class Heartbeat:
    """A worker is alive and holds these attempts; a client sends it without any.

    Names every attempt the worker still means to answer for: this renews their leases, and after
    a restart of the broker claims them again.
    """

    running: tuple[tuple[TaskId, Fence], ...] = ()
    memory_free_mb: int = 0
    gpu_memory_free_mb: int = 0
