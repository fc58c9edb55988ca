"""Connected peers: what is still to be sent to each, and how long it may be silent."""

from collections import Counter, deque
from collections.abc import Iterator
from math import inf
from typing import Protocol

from attrs import define, field
from msgspec.structs import replace

from paintmq.broker.connections.outbox import Outgoing, weight_of
from paintmq.broker.machine import Credentials, Send
from paintmq.shared_memory.broker_arenas import ClientEnd, WorkerEnd
from paintmq.task import Buffer, PeerId
from paintmq.transport.key_files import Role
from paintmq.transport.pipes import send_waiting
from paintmq.wire.link import Link
from paintmq.wire.messages import WITH_PAYLOADS, Answer, FromBroker, payloads_of
from paintmq.wire.transfer import INLINE_BYTES

MOST_ANSWERED = 200_000
"""Values in unread answers of one peer; beyond that its questions are refused."""
ASK_SHARE, ASK_BURST = 0.1, 0.5
"""Share of the loop's time, and seconds at once, that long answers to one peer may take."""
FREE_SECONDS = 0.0005
"""Not counted: most answers take less."""
LONG_ANSWER = 1_000
"""Values in one answer: statistics have hundreds, a list of tasks may have 100,000."""
LINE_LENGTH = 50_000
"""Messages that wait for a peer, beyond which nothing it says is taken that makes them more."""
MOST_UNSENT = 16
"""Messages refused by a socket, after which no more are taken from the peer's link."""


class UnreachableError(Exception):
    """The peer's connection is gone."""


class Endpoint(Protocol):
    """A listening socket of the broker, as its peers use it."""

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
        """Return whether these frames travel by pipe instead of the socket."""
        ...

    def stamped(self, peer: PeerId, message: FromBroker) -> FromBroker:
        """Return the message with the fields filled in that only the endpoint knows."""
        ...

    def role_of(self, peer: PeerId) -> Role:
        """Return what a peer may do."""
        ...

    def key_of(self, peer: PeerId) -> str:
        """Return the name of the peer's key; empty where no keys are in use."""
        ...

    def credentials_of(self, peer: PeerId) -> Credentials:
        """Return what the key of a peer says of it."""
        ...

    def forget_peer(self, peer: PeerId) -> None:
        """Drop what is kept for a connection."""
        ...


@define(eq=False)
class Peer:
    """One connection."""

    id: PeerId
    endpoint: Endpoint
    silent_at: float
    """When it counts as gone unless something arrives from it."""
    probe_at: float
    """When to send it something, to learn whether it is still there."""
    link: Link
    key: str = ""
    """Name of its key."""
    held: deque[Outgoing] = field(factory=deque[Outgoing])
    """Messages that leave as soon as the peer takes them and their payloads are in memory."""
    held_large: deque[Outgoing] = field(factory=deque[Outgoing])
    """Messages with large payloads; the others must not wait behind them."""
    unsent: deque[list[Buffer]] = field(factory=deque[list[Buffer]])
    """Multipart messages that the socket refused for now."""
    sent: int = 0
    """Multipart messages that the socket accepted."""
    stalled_at: float = inf
    """When it counts as not reading, unless its socket accepts something before."""
    _sharing: ClientEnd | WorkerEnd | None = None
    _answered: int = 0
    _asked: float = 0.0
    """Seconds that its long answers took, minus what has been earned back since."""
    _asked_at: float = 0.0

    def share(self, end: ClientEnd | WorkerEnd | None) -> None:
        """Let large payloads lie in memory that the peer has too, once it has proven that."""
        self._sharing = self.link.sharing = end
        if end is not None:
            self.link.share(end.greeting())

    def stop_sharing(self) -> None:
        if self._sharing is not None:
            self._sharing.close()
            self._sharing = self.link.sharing = None

    def may_ask(self, *, now: float) -> bool:
        """Return whether the peer has time left for long answers."""
        self._asked = max(0.0, self._asked - ASK_SHARE * (now - self._asked_at))
        self._asked_at = now
        return self._asked < ASK_BURST

    def charge(self, seconds: float) -> None:
        """Charge the processor seconds that an answer took."""
        self._asked += max(0.0, seconds - FREE_SECONDS)

    def hold(self, outgoing: Outgoing) -> None:
        """Append a message to its line; an answer beyond the limit is replaced by a refusal."""
        message = outgoing.send.message
        kind = type(message)
        if kind not in WITH_PAYLOADS and kind is not Answer:
            self.held.append(outgoing)  # as most
            return
        if isinstance(message, Answer):
            if self.unsent and self._answered > MOST_ANSWERED:
                reason = "too many of your answers are unread: read them, then ask again"
                refusal = Answer(request_id=message.request_id, error=reason)
                outgoing = Outgoing(Send(self.id, refusal), ())
            else:
                outgoing = replace(outgoing, weight=weight_of(message.value))
            self._answered += outgoing.weight
        infos = payloads_of(message)
        if infos and sum([info.size for info in infos]) > INLINE_BYTES:
            self.held_large.append(outgoing)
        else:
            self.held.append(outgoing)

    @property
    def line_length(self) -> int:
        return len(self.held) + len(self.held_large)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for it that it must read before it is heard again.

        It is not dropped: it may have handed in 100,000 tasks that all ended while it was away.
        Whatever is ignored now is repeated, as it is not answered.
        """
        return self.line_length > LINE_LENGTH

    @property
    def waits_for_long_answers(self) -> bool:
        """Whether encoding what comes next for it may take milliseconds."""
        return self._answered > LONG_ANSWER

    def release(self, line: deque[Outgoing]) -> None:
        """Remove the first message from one of its lines."""
        self._answered -= line.popleft().weight

    def flush(self) -> bool:
        """Send what the link has ready; return False when the socket takes nothing more.

        Raises:
            UnreachableError: the connection is gone.
        """
        if not self.unsent and self.link.is_idle:
            return True
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
    """All connections, limited in number: clients never take the place of workers."""

    limit: int
    """Connections of clients, and the same number of workers."""
    _limit_per_key: int
    _silence: float
    """Seconds."""
    _probe: float
    """Seconds."""
    _peers: dict[PeerId, Peer] = field(factory=dict[PeerId, Peer], init=False)
    _dirty: dict[PeerId, Peer] = field(factory=dict[PeerId, Peer], init=False)
    _counts: Counter[tuple[bool, str]] = field(factory=Counter[tuple[bool, str]], init=False)
    """Connections by port (of a queue or not) and key; the empty key counts all of them."""

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def objection(self, endpoint: Endpoint, peer_id: PeerId) -> str:
        """Return why one more connection cannot be served; empty when it can."""
        if self._counts[endpoint.is_queue, ""] >= self.limit:
            return (
                f"this broker serves {self.limit} peers of this kind already (limits.max_peers, or "
                f"the files it may open: ulimit -n): close unused connections or raise the limit"
            )
        key = endpoint.key_of(peer_id)
        if key and self._counts[endpoint.is_queue, key] >= self._limit_per_key:
            return (
                f"this broker serves {self._limit_per_key} connections with the key {key!r} "
                f"already (limits.max_peers_per_key): close unused ones or raise the limit"
            )
        return ""

    def at(self, endpoint: Endpoint) -> list[Peer]:
        """Return the peers of one port."""
        return [peer for peer in self._peers.values() if peer.endpoint is endpoint]

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
        """Record a sign of life; the peer is marked, as its link may owe an answer."""
        peer.silent_at = now + self._silence
        peer.probe_at = now + self._probe
        self._dirty[peer.id] = peer

    def mark(self, peer: Peer) -> None:
        """Mark a peer that has something to be sent to it."""
        if peer.id in self._peers:
            self._dirty[peer.id] = peer

    def take_marked(self) -> list[Peer]:
        dirty, self._dirty = self._dirty, {}
        return list(dirty.values())

    @property
    def any_marked(self) -> bool:
        return bool(self._dirty)

    def flushed(self, peer: Peer, *, sent_before: int, now: float) -> None:
        """Record how an attempt to send to it went."""
        if not peer.unsent:
            peer.stalled_at = inf
        elif peer.sent > sent_before or peer.stalled_at == inf:
            peer.stalled_at = now + self._silence / 2

    def close(self, peer: Peer) -> None:
        if self._peers.pop(peer.id, None) is not None:
            self._count(peer, -1)
        self._dirty.pop(peer.id, None)
        peer.endpoint.forget_peer(peer.id)

    def silent(self, *, now: float) -> list[Peer]:
        """Return the peers that count as gone: they send nothing, or read nothing."""
        return [
            peer for peer in self._peers.values() if peer.silent_at <= now or peer.stalled_at <= now
        ]

    def to_probe(self, *, now: float) -> list[Peer]:
        """Return the peers that have been quiet for one interval; each once per interval."""
        quiet = [peer for peer in self._peers.values() if peer.probe_at <= now]
        for peer in quiet:
            peer.probe_at = now + self._probe
        return quiet
