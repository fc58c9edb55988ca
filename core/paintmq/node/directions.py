"""Where the queues of a broker are, as its port for clients tells it.

A node asks before it starts its workers. It asks again when one of them is refused, hears nothing
or is welcomed by another broker than the one it was sent to: queues may have been added or removed,
the broker may have been started again on other ports, or somebody else may have got its port.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field, frozen

from paintmq.config import QueueConfig
from paintmq.errors import PaintMQError
from paintmq.task import Json
from paintmq.transport.addresses import tcp_endpoint
from paintmq.transport.reach import why_unreachable
from paintmq.worker.agent.known_broker import KnownBroker

AGAIN = 1.0
"""Seconds between two questions at least."""
LOOK = 2.0
"""Seconds between two looks at who leads, where brokers stand by for each other. A worker by itself
notices a silent leader after three heartbeats, when another may have led for ten seconds."""
SELDOM = 3600.0
"""Seconds without a doubt after which one broker alone is asked."""
PATIENCE = 2.0
"""Seconds in which a queue's port must be reached before it counts as one that cannot be."""

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Directions:
    """Where the workers of a node go."""

    endpoints: Mapping[str, str]
    """The address of every queue, as seen from here."""
    queues: Mapping[str, QueueConfig]
    """What a node must know of them to choose a home for each worker; empty: as its own settings
    have it (an earlier broker does not tell, a worker's key cannot ask)."""
    incarnation: int | None = None
    """Of the broker; None: not known."""


def directions_from(endpoint: str, answer: Json) -> Directions | None:
    """Return what a broker's answer to ``endpoints`` says; None if it is no such answer.

    Its addresses are on the host by which the broker itself was reached, unless it advertises
    another: what it is bound to may be all addresses of its machine, or the inside of a container.
    """
    match answer:
        case {"queues": dict(queues)}:
            pass
        case _:
            return None
    told: Any = answer
    host = str(told.get("advertise") or urlsplit(endpoint).hostname or "")
    incarnation = told.get("incarnation")
    try:
        return Directions(
            endpoints={
                str(name): tcp_endpoint(host, urlsplit(str(at)).port or 0)
                for name, at in queues.items()
            },
            queues={
                str(name): QueueConfig(
                    port=0,
                    device=about["device"],
                    gpu_memory_mb=about["gpu_memory_mb"],
                    effort=about["effort"],
                )
                for name, about in dict(told.get("requirements") or {}).items()
            },
            incarnation=incarnation if isinstance(incarnation, int) else None,
        )
    except (KeyError, TypeError, ValueError):
        return None


def unreachable(endpoints: Mapping[str, str], *, broker: str) -> list[str]:
    """Return a line for each of these queues whose port cannot be reached from here.

    ``broker``: where it was asked.
    """
    reasons = {name: why_unreachable(at, PATIENCE) for name, at in endpoints.items()}
    return [
        f"the broker at {broker} says that queue {name} is at {endpoints[name]}, which cannot be "
        f"reached: {reason}. Where something between maps ports or names (docker -p, ssh -L, NAT), "
        f"set broker.advertise and queues.{name}.advertise_port on the broker"
        for name, reason in reasons.items()
        if reason
    ]


@define(eq=False)
class DirectionsKeeper:
    """Asks again whenever a worker doubts the directions it has, in a thread of its own.

    Where brokers stand by for each other (``looks_after``) it does not wait for that.
    """

    ask: Callable[[], Directions]
    """Raises PaintMQError, OSError or TimeoutError where nobody answers."""
    follow: Callable[[Directions], None]
    homes: Callable[[], Mapping[str, str]]
    """Returns the queues that workers of this node go to, and their addresses."""
    known: KnownBroker
    broker: str
    looks_after: float = SELDOM
    """Seconds without a doubt after which it asks all the same."""
    _ended: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _said: str = field(default="", init=False)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="paintmq-directions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; a question that is under way is not waited for. Harmless to repeat."""
        self._ended.set()
        self.known.doubt("the node ends")

    def _run(self) -> None:
        while True:
            self.known.wait_for_doubt(self.looks_after)
            if self._ended.is_set():
                return
            self._look_again(self.known.take_doubt())
            if self._ended.wait(AGAIN):
                return

    def _look_again(self, doubt: str) -> None:
        try:
            directions = self.ask()
        except (PaintMQError, OSError, TimeoutError) as error:
            self._say(f"no directions from the broker at {self.broker}: {error}")
            if doubt:
                self.known.doubt(doubt)  # ask again
            return
        if not doubt and self._are_followed(directions):
            return
        self.known.incarnation = directions.incarnation
        self.follow(directions)
        for line in unreachable(self.homes(), broker=self.broker):
            self._say(line)

    def _are_followed(self, directions: Directions) -> bool:
        return directions.incarnation == self.known.incarnation and all(
            directions.endpoints.get(queue) == at for queue, at in self.homes().items()
        )

    def _say(self, line: str) -> None:
        """Log a line, once while it stays the same."""
        if line != self._said:
            self._said = line
            logger.warning("%s", line)
