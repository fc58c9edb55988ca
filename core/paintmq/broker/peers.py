"""Connected peers: what each has still to be told, and how long it may be silent."""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from attrs import define, field

from paintmq.broker.outbox import Outgoing
from paintmq.broker.stores import Buffer
from paintmq.task import PeerId
from paintmq.transport.key_files import Role
from paintmq.transport.pipes import send_waiting
from paintmq.wire.link import Link
from paintmq.wire.messages import FromBroker


class UnreachableError(Exception):
    """The peer's connection is gone."""


class Endpoint(Protocol):
    """A listening socket of the broker, as far as peers are concerned."""

    @property
    def name(self) -> str:
        """``clients``, or the name of a queue."""
        ...

    @property
    def is_queue(self) -> bool: ...

    def send(self, peer: PeerId, frames: list[Buffer]) -> bool:
        """Send, or return False when the connection takes nothing more for now.

        Raises:
            UnreachableError: the connection is gone.
        """
        ...

    def by_pipe(self, peer: PeerId, frames: list[Buffer]) -> bool:
        """Return whether these frames take another way to the peer than the rest."""
        ...

    def stamped(self, peer: PeerId, message: FromBroker) -> FromBroker:
        """Fill in what only the endpoint knows."""
        ...

    def role_of(self, peer: PeerId) -> Role:
        """Return what a peer may do."""
        ...

    def forget(self, peer: PeerId) -> None:
        """Let go of what is kept for a connection."""
        ...


@define(eq=False)
class Peer:
    """One connection."""

    id: PeerId
    endpoint: Endpoint
    silent_at: float
    """When it counts as gone unless it says something."""
    probe_at: float
    """When to say something to it, to learn whether it is still there."""
    link: Link
    held: deque[Outgoing] = field(factory=deque[Outgoing])
    """Messages that may leave as soon as the peer can take them and their payloads are there."""
    unsent: deque[list[Buffer]] = field(factory=deque[list[Buffer]])
    """What the socket did not take."""

    def flush(self) -> bool:
        """Send what the link gives out; return False when the socket takes nothing more.

        Raises:
            UnreachableError: the connection is gone.
        """
        self.unsent.extend(self.link.outgoing())
        send_waiting(
            self.unsent,
            lambda frames: self.endpoint.send(self.id, frames),
            lambda frames: self.endpoint.by_pipe(self.id, frames),
        )
        return not self.unsent


@define
class PeerTable:
    """All connections, bounded in number."""

    _limit: int
    _silence: float
    """Seconds."""
    _probe: float
    """Seconds."""
    _peers: dict[PeerId, Peer] = field(factory=dict[PeerId, Peer], init=False)
    _dirty: dict[PeerId, Peer] = field(factory=dict[PeerId, Peer], init=False)

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    @property
    def is_full(self) -> bool:
        return len(self._peers) >= self._limit

    @property
    def limit(self) -> int:
        return self._limit

    def get(self, peer_id: PeerId) -> Peer | None:
        return self._peers.get(peer_id)

    def open(self, peer_id: PeerId, endpoint: Endpoint, link: Link, *, now: float) -> Peer:
        peer = Peer(peer_id, endpoint, now + self._silence, now + self._probe, link)
        self._peers[peer_id] = peer
        return peer

    def heard(self, peer: Peer, *, now: float) -> None:
        """Take note that the peer said something; its link may have something to say to that."""
        peer.silent_at = now + self._silence
        peer.probe_at = now + self._probe
        self._dirty[peer.id] = peer

    def mark(self, peer: Peer) -> None:
        """Take note that there is something to send to it."""
        if peer.id in self._peers:
            self._dirty[peer.id] = peer

    def take_marked(self) -> list[Peer]:
        dirty, self._dirty = self._dirty, {}
        return list(dirty.values())

    @property
    def any_marked(self) -> bool:
        return bool(self._dirty)

    def close(self, peer: Peer) -> None:
        self._peers.pop(peer.id, None)
        self._dirty.pop(peer.id, None)
        peer.endpoint.forget(peer.id)

    def silent(self, *, now: float) -> list[Peer]:
        """Return the peers that count as gone."""
        return [peer for peer in self._peers.values() if peer.silent_at <= now]

    def to_probe(self, *, now: float) -> list[Peer]:
        """Return the peers that have been quiet for a while, once a while."""
        quiet = [peer for peer in self._peers.values() if peer.probe_at <= now]
        for peer in quiet:
            peer.probe_at = now + self._probe
        return quiet
