"""Connected peers: what each has still to be told, and how long it may be silent."""

from collections import Counter, deque
from collections.abc import Iterator
from math import inf
from typing import Protocol

from attrs import define, evolve, field

from paintmq.broker.connections.outbox import Outgoing, weight_of
from paintmq.broker.machine import Send
from paintmq.broker.stores import Buffer
from paintmq.task import PeerId
from paintmq.transport.key_files import Role
from paintmq.transport.pipes import send_waiting
from paintmq.wire.link import Link
from paintmq.wire.messages import Answer, FromBroker, payloads_of
from paintmq.wire.transfer import INLINE_BYTES

MOST_ANSWERED = 200_000
"""Values in the answers that wait for a peer that does not read. Then it gets refusals."""
ASK_SHARE, ASK_BURST = 0.1, 0.5
"""Of the loop's time, and seconds of it at once, that the long answers of one peer may take."""
FREE_SECONDS = 0.0005
"""What an answer may take without being counted: most take less."""
LONG_ANSWER = 1_000
"""Values in answers; statistics have some hundreds, a list of tasks may have 100,000."""
MOST_UNSENT = 16
"""Messages a socket did not take, after which its link is asked for no more."""


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

    def key_of(self, peer: PeerId) -> str:
        """Return the name of the key a peer showed; empty where no keys are asked for."""
        ...

    def queues_of(self, peer: PeerId) -> tuple[str, ...] | None:
        """Return the queues that the key of a peer is for; None: all."""
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
    key: str = ""
    """Name of the key it showed."""
    held: deque[Outgoing] = field(factory=deque[Outgoing])
    """Messages that may leave as soon as the peer can take them and their payloads are there."""
    held_large: deque[Outgoing] = field(factory=deque[Outgoing])
    """Those that travel as transfers, beside which the others must not wait."""
    unsent: deque[list[Buffer]] = field(factory=deque[list[Buffer]])
    """What the socket did not take."""
    sent: int = 0
    """Messages the socket took."""
    deaf_at: float = inf
    """When it counts as reading nothing, unless its socket takes something."""
    _answered: int = 0
    _asked: float = 0.0
    """Seconds that its long answers took and that have not been waited for yet."""
    _asked_at: float = 0.0

    def may_ask(self, *, now: float) -> bool:
        """Return whether the peer has not had more than its share of long answers."""
        self._asked = max(0.0, self._asked - ASK_SHARE * (now - self._asked_at))
        self._asked_at = now
        return self._asked < ASK_BURST

    def charge(self, seconds: float) -> None:
        """Count what an answer took, in seconds of the processor."""
        self._asked += max(0.0, seconds - FREE_SECONDS)

    def hold(self, outgoing: Outgoing) -> None:
        """Put a message at the end of its line; of too many answers only that they are too many."""
        message = outgoing.send.message
        if isinstance(message, Answer):
            if self.unsent and self._answered > MOST_ANSWERED:
                words = "too many answers wait to be read by you: read them, and ask again"
                refusal = Answer(request_id=message.request_id, error=words)
                outgoing = Outgoing(Send(self.id, refusal), ())
            else:
                outgoing = evolve(outgoing, weight=weight_of(message.value))
            self._answered += outgoing.weight
        size = sum(info.size for info in payloads_of(message))
        (self.held_large if size > INLINE_BYTES else self.held).append(outgoing)

    @property
    def line_length(self) -> int:
        return len(self.held) + len(self.held_large)

    @property
    def waits_for_long_answers(self) -> bool:
        """Whether what it is to be told next may take milliseconds to put into bytes."""
        return self._answered > LONG_ANSWER

    def release(self, line: deque[Outgoing]) -> None:
        """Take the first message from one of its lines."""
        self._answered -= line.popleft().weight

    def flush(self) -> bool:
        """Send what the link gives out; return False when the socket takes nothing more.

        Raises:
            UnreachableError: the connection is gone.
        """
        if len(self.unsent) < MOST_UNSENT:
            self.unsent.extend(self.link.outgoing())
        send_waiting(
            self.unsent,
            self._send,
            lambda frames: self.endpoint.by_pipe(self.id, frames),
        )
        return not self.unsent

    def _send(self, frames: list[Buffer]) -> bool:
        taken = self.endpoint.send(self.id, frames)
        self.sent += taken
        return taken


@define
class PeerTable:
    """All connections, bounded in number: clients never take the place of workers."""

    limit: int
    """Connections of clients, and as many of workers."""
    _limit_per_key: int
    _silence: float
    """Seconds."""
    _probe: float
    """Seconds."""
    _peers: dict[PeerId, Peer] = field(factory=dict[PeerId, Peer], init=False)
    _dirty: dict[PeerId, Peer] = field(factory=dict[PeerId, Peer], init=False)
    _counts: Counter[tuple[bool, str]] = field(factory=Counter[tuple[bool, str]], init=False)
    """Connections of queues, or not; in all (no key) and of each key."""

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def objection(self, endpoint: Endpoint, peer_id: PeerId) -> str:
        """Return why one more connection cannot be served; empty when it can."""
        if self._counts[endpoint.is_queue, ""] >= self.limit:
            return (
                f"{self.limit} peers are too many for me (limits.max_peers, or the files that I "
                f"may open: ulimit -n)"
            )
        key = endpoint.key_of(peer_id)
        if key and self._counts[endpoint.is_queue, key] >= self._limit_per_key:
            return (
                f"{self._limit_per_key} connections with the key {key!r} are too many for me "
                f"(limits.max_peers_per_key)"
            )
        return ""

    def get(self, peer_id: PeerId) -> Peer | None:
        return self._peers.get(peer_id)

    def open(self, peer_id: PeerId, endpoint: Endpoint, link: Link, *, now: float) -> Peer:
        key = endpoint.key_of(peer_id)
        peer = Peer(peer_id, endpoint, now + self._silence, now + self._probe, link, key)
        self._peers[peer_id] = peer
        self._count(peer, +1)
        return peer

    def _count(self, peer: Peer, change: int) -> None:
        for key in {"", peer.key}:
            self._counts[peer.endpoint.is_queue, key] += change
            if not self._counts[peer.endpoint.is_queue, key]:
                del self._counts[peer.endpoint.is_queue, key]

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

    def flushed(self, peer: Peer, *, sent_before: int, now: float) -> None:
        """Take note of what came of an attempt to send to it."""
        if not peer.unsent:
            peer.deaf_at = inf
        elif peer.sent > sent_before or peer.deaf_at == inf:
            peer.deaf_at = now + self._silence / 2

    def close(self, peer: Peer) -> None:
        if self._peers.pop(peer.id, None) is not None:
            self._count(peer, -1)
        self._dirty.pop(peer.id, None)
        peer.endpoint.forget(peer.id)

    def silent(self, *, now: float) -> list[Peer]:
        """Return the peers that count as gone: they say nothing, or read nothing."""
        return [
            peer for peer in self._peers.values() if peer.silent_at <= now or peer.deaf_at <= now
        ]

    def to_probe(self, *, now: float) -> list[Peer]:
        """Return the peers that have been quiet for a while, once a while."""
        quiet = [peer for peer in self._peers.values() if peer.probe_at <= now]
        for peer in quiet:
            peer.probe_at = now + self._probe
        return quiet
