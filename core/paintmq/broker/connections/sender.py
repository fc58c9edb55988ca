"""Sends the machine's messages: once durable, complete, and no faster than each peer reads.

A message waits in up to three places, in this order: the outbox (its records are not durable yet),
its peer's line (the peer reads slowly), and the store (its payloads are being read back). A slow
client therefore costs a line of small messages; its results stay in the store meanwhile.

Messages with large payloads have a line of their own in each peer. The order within each line is
kept, the order between the two is not: a heartbeat or a cancel must not wait behind an image, and
the protocol tells peers to expect that. Payloads are looked up only when the link has room, so
that memory holds a few transfers for each peer, not all results of a client that is away.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import TypeAlias

from attrs import define, evolve, field

from paintmq.broker.connections.outbox import Outbox, Outgoing
from paintmq.broker.connections.peers import Peer, PeerTable, UnreachableError
from paintmq.broker.machine import Send
from paintmq.broker.stores import PayloadKey
from paintmq.broker.stores.failpoints import ARMED, failpoint
from paintmq.broker.stores.journal import Journal
from paintmq.broker.stores.payload_cache import PayloadCache, payload_keys
from paintmq.errors import WireError
from paintmq.task import Buffer, PeerId, TaskError, TaskState
from paintmq.units import MIB
from paintmq.wire.messages import (
    Accepted,
    Answer,
    Assign,
    Assignment,
    AttemptFailed,
    AttemptRecorded,
    BrokerHeartbeat,
    Finished,
    FromBroker,
    Progressed,
    Welcome,
    WorkerWelcome,
)
from paintmq.wire.transfer import Payload

logger = logging.getLogger(__name__)

LINK_BYTES = 8 * MIB
"""While a link holds more than this, no further transfer is begun."""
CLOCK_MESSAGES = 8
"""Messages between two looks at the clock; one with payloads, or an answer, is followed by one."""
LINGER_SECONDS: Mapping[type, float] = {Accepted: 0.002, AttemptRecorded: 0.005}
"""For which a confirmation waits for something else to go to the same peer. Alone it would wake a
process that has nothing to do yet, and take the processor from the next step of the same task. A
worker merely stops repeating itself; a program may wait to hear that its task was accepted."""
LINGERING_MESSAGES = 32
"""Of one peer, with which the wait is over."""
LINK_MESSAGES = 256
"""Messages that go to the link before the socket is tried again."""
SLICE_SECONDS = 0.004
"""Spent on sending before sockets are read again: one answer may take milliseconds to encode."""
PREVIEW_LINE = 64
"""Progress is lossy by contract: it is dropped while a peer's line is longer than this."""

_WITH_PAYLOADS = frozenset({Assign, Finished})
"""Messages whose payloads are looked up when they are sent."""
_STAMPED = frozenset({Accepted, Welcome, WorkerWelcome})
"""Messages with a field that is filled in when they leave."""
_BARE = frozenset({Accepted, AttemptRecorded})
"""Messages without payloads or weight, which come in large numbers."""
_MAY_TAKE_LONG = frozenset({Assign, Answer})
"""Messages that may take milliseconds to encode."""

Caught: TypeAlias = Callable[[BaseException, Callable[[], object]], None]


@define
class Sender:
    """The way out of the broker."""

    _journal: Journal
    _payloads: PayloadCache
    _peers: PeerTable
    _caught: Caught
    """Told of what went wrong with a peer; raises what must end the broker."""
    _clock: Callable[[], float] = time.monotonic
    is_interrupted: bool = field(default=False, init=False)
    """Whether ``flush`` ran out of time: there is more to send right away."""
    _ends: float = field(default=0.0, init=False)
    _outbox: Outbox = field(factory=Outbox, init=False)
    _lingering: dict[PeerId, tuple[Peer, float]] = field(
        factory=dict[PeerId, tuple[Peer, float]], init=False
    )
    """Peers with nothing to be sent but what may linger, and until when it may."""
    _fetching: dict[PayloadKey, list[Peer]] = field(
        factory=dict[PayloadKey, list[Peer]], init=False
    )
    _damaged: set[PayloadKey] = field(factory=set[PayloadKey], init=False)
    _failures: list[tuple[PeerId, AttemptFailed]] = field(
        factory=list[tuple[PeerId, AttemptFailed]], init=False
    )

    @property
    def has_sent_everything(self) -> bool:
        """Whether everything given to it has been handed to the sockets."""
        waits = self._outbox or self._lingering or self._fetching
        return not waits and not self._peers.any_marked

    def linger(self) -> float:
        """Return for how many seconds what waits for company may still do so; infinity: for ever,
        as nothing does.
        """
        if not self._lingering:
            return inf
        return min([until for _, until in self._lingering.values()]) - self._clock()

    @property
    def has_failures(self) -> bool:
        return bool(self._failures)

    def send_after(self, sequence: int, outgoing: Iterable[Outgoing]) -> None:
        """Send these messages once that record, and all before it, are durable."""
        self._outbox.add(sequence, outgoing)

    def release(self) -> None:
        """Pass on the messages whose records have become durable."""
        released = self._outbox.release(self._journal.durable)
        if not released:
            return
        urgent = dict[PeerId, Peer]()
        peer: Peer | None = None
        now: float | None = None
        for outgoing in released:
            send = outgoing.send
            if peer is None or peer.id != send.peer:  # many in a row are to the same one
                peer = self._peers.get(send.peer)
                if peer is None:
                    continue  # it left, and will query its tasks when it comes back
            kind = type(send.message)
            if kind is Progressed and peer.line_length > PREVIEW_LINE:
                continue
            if kind is BrokerHeartbeat and peer.is_behind:
                continue  # what waits for it shows as well that the broker lives
            if kind in _BARE:
                peer.held.append(outgoing)
            else:
                peer.hold(outgoing)
            if peer.id in urgent:
                continue
            seconds = LINGER_SECONDS.get(kind)
            if seconds is None or peer.line_length >= LINGERING_MESSAGES:
                urgent[peer.id] = peer
                continue
            known, now = self._lingering.get(peer.id), self._clock() if now is None else now
            if known is None or known[1] > now + seconds:
                self._lingering[peer.id] = peer, now + seconds
        for peer in urgent.values():
            self._peers.mark(peer)
            self._lingering.pop(peer.id, None)

    def _end_lingering(self) -> None:
        """Let go what has waited for company long enough."""
        now = self._clock()
        for peer, until in list(self._lingering.values()):
            if until <= now or self._peers.get(peer.id) is not peer:
                del self._lingering[peer.id]
                if self._peers.get(peer.id) is peer:
                    self._peers.mark(peer)

    def fetched(self, key: PayloadKey, data: Buffer | None) -> None:
        """Take a payload that the store has read; None: it is lost."""
        if data is None:
            logger.error("cannot read %s %r of task %s", key.direction, key.name, key.task_id)
            self._damaged.add(key)
        else:
            self._payloads.put(key, data)
        for peer in self._fetching.pop(key, ()):
            self._peers.mark(peer)

    def take_failures(self) -> list[tuple[PeerId, AttemptFailed]]:
        """Return the attempts that cannot begin as an input is lost, as their workers would."""
        failures, self._failures = self._failures, []
        return failures

    def flush(self, *, now: float) -> list[Peer]:
        """Send what can be sent within the time slice; return the peers to drop.

        Peers that must wait, for their socket or for their turn, stay marked. Those with long
        answers due are served in a slice of their own, after all others: encoding such answers may
        use up a slice, and no other peer should wait for that.
        """
        if self._lingering:
            self._end_lingering()
        lost: list[Peer] = []
        asked: list[Peer] = []
        others: deque[Peer] = deque()
        for peer in self._peers.take_marked():
            if peer.waits_for_long_answers:
                asked.append(peer)
            elif peer.endpoint.is_queue:
                others.appendleft(peer)  # a worker may be idle until it hears this
            else:
                others.append(peer)
        self.is_interrupted = was_interrupted = False
        for marked in (others, deque(asked)):
            if marked:
                self._flush_these(marked, lost, now=now)
                was_interrupted = was_interrupted or self.is_interrupted
        self.is_interrupted = was_interrupted
        return lost

    def _flush_these(self, marked: deque[Peer], lost: list[Peer], *, now: float) -> None:
        self._ends, self.is_interrupted = self._clock() + SLICE_SECONDS, False
        unfinished: list[Peer] = []
        while marked and not self.is_interrupted:
            peer = marked.popleft()
            sent = peer.sent
            try:
                if not self._pump(peer):
                    unfinished.append(peer)
                self._peers.flushed(peer, sent_before=sent, now=now)
            except UnreachableError:
                lost.append(peer)
            except BaseException as error:  # noqa: BLE001 -- ``_caught`` raises what is not for it
                self._caught(error, lambda peer=peer: ("sending to", peer.id))  # type: ignore[misc]
                lost.append(peer)
            self._look_at_clock()
        for peer in (*marked, *unfinished):  # those that had no turn come first next time
            self._peers.mark(peer)

    def _look_at_clock(self) -> None:
        self.is_interrupted = self.is_interrupted or self._clock() > self._ends

    def _pump(self, peer: Peer) -> bool:
        """Send to a peer until its lines are empty or the store must be waited for.

        Returns:
            False: there is more to send, but its socket is full or the time is up.
        """
        if peer.unsent and not peer.flush():
            return False
        while True:
            moved = self._fill_link(peer, peer.held) if peer.held else 0
            has_room = peer.link.queued_bytes <= LINK_BYTES and not self.is_interrupted
            if peer.held_large and has_room:
                moved += self._fill_link(peer, peer.held_large)
            if not peer.flush() or self.is_interrupted:
                return False
            if not moved or not peer.line_length:
                return True

    def _fill_link(self, peer: Peer, line: deque[Outgoing]) -> int:
        """Move messages from a line to the link; return how many were moved.

        Ends early when payloads must be read first, or when the time is up. Small messages are
        moved however many bytes the link still holds; only transfers wait for room in it.
        """
        large = line is peer.held_large
        for moved in range(LINK_MESSAGES):
            if not line or self.is_interrupted or (large and peer.link.queued_bytes > LINK_BYTES):
                return moved
            outgoing = line[0]
            message, payloads = outgoing.send.message, outgoing.payloads
            kind = type(message)
            is_plain = kind not in _MAY_TAKE_LONG
            if payloads is None and kind in _WITH_PAYLOADS:
                message = self._without_damaged(peer, message) if self._damaged else message
                if message is not outgoing.send.message:
                    line[0] = Outgoing(Send(peer.id, message))
                payloads = self._complete(peer, message)
                if payloads is None:
                    return moved
            if kind is Answer:
                peer.release(line)
            else:
                line.popleft()
            if ARMED:
                failpoint("send.before")
            if kind in _STAMPED:
                message = self._stamped(peer, message)
            self._hand_over(peer, message, payloads or ())
            if ARMED:
                failpoint("send.after")
            if not is_plain or moved % CLOCK_MESSAGES == 0:
                self._look_at_clock()
        return LINK_MESSAGES

    def _complete(self, peer: Peer, message: FromBroker) -> tuple[Payload, ...] | None:
        """Return the payloads of a message; None while they are being read from the store."""
        payloads: list[Payload] = []
        missing = False
        for key in payload_keys(message):
            data = self._payloads.get(key)
            if data is not None:
                payloads.append(data)
                continue
            missing = True
            if not self._journal.keeps_payloads:
                self.fetched(key, None)
                self._peers.mark(peer)
                continue
            waiting = self._fetching.get(key)
            if waiting is None:
                self._fetching[key] = [peer]
                self._journal.fetch(key)
            elif peer not in waiting:
                waiting.append(peer)
        return None if missing else tuple(payloads)

    def _without_damaged(self, peer: Peer, message: FromBroker) -> FromBroker:
        """Return the message, or what replaces it where one of its payloads is lost."""
        lost = [key for key in payload_keys(message) if key in self._damaged]
        if not lost:
            return message
        self._damaged.difference_update(lost)
        match message:
            case Finished():
                return evolve(
                    message,
                    state=TaskState.FAILED,
                    outputs=(),
                    error=_corrupt(lost[0]),
                )
            case Assign(assignments):
                return Assign(tuple(a for a in assignments if self._is_whole(peer, a, lost)))
            case _:
                return message

    def _is_whole(self, peer: Peer, assignment: Assignment, lost: list[PayloadKey]) -> bool:
        task_id = assignment.task.id
        mine = [key for key in lost if key.task_id == task_id]
        if mine:
            self._fail(peer, assignment, _corrupt(mine[0]))
        return not mine

    def _fail(self, peer: Peer, assignment: Assignment, error: TaskError) -> None:
        """End an attempt that its worker cannot be given, as if that had reported it."""
        failure = AttemptFailed(task_id=assignment.task.id, fence=assignment.fence, error=error)
        self._failures.append((peer.id, failure))

    def _stamped(self, peer: Peer, message: FromBroker) -> FromBroker:
        if isinstance(message, Accepted):  # as ``evolve`` would, which takes ten times as long
            return Accepted(
                task_id=message.task_id,
                queue=message.queue,
                durable_sequence=self._journal.durable,
                state=message.state,
                waiting_for=message.waiting_for,
            )
        if isinstance(message, Welcome):
            return evolve(message, durable_sequence=self._journal.durable)
        return peer.endpoint.stamped(peer.id, message)

    def _hand_over(self, peer: Peer, message: FromBroker, payloads: tuple[Payload, ...]) -> None:
        if isinstance(message, Assign) and not message.assignments:
            return
        try:
            peer.link.send(message, payloads)
        except (WireError, ValueError) as error:
            logger.warning("cannot send %s to %r: %s", type(message).__name__, peer.id, error)
            self._replace_unsendable(peer, message, str(error))

    def _replace_unsendable(self, peer: Peer, message: FromBroker, reason: str) -> None:
        """Send what can be sent instead: its receiver would wait for ever otherwise."""
        match message:
            case Answer(request_id=request_id):
                peer.link.send(Answer(request_id=request_id, error=reason))
            case Assign(assignments):
                for assignment in assignments:
                    error = TaskError(code="unsendable", message=f"it cannot be sent: {reason}")
                    self._fail(peer, assignment, error)
            case Finished():
                error = TaskError(code="unsendable", message=f"it cannot be sent: {reason}")
                bare = evolve(message, state=TaskState.FAILED, outputs=(), error=error)
                peer.link.send(bare)
            case _:
                pass

    def send_now(self, peer: Peer, message: FromBroker) -> None:
        """Send a message that depends on no record: a refusal, a sign of life."""
        peer.hold(Outgoing(Send(peer.id, message), ()))
        self._peers.mark(peer)
        self._lingering.pop(peer.id, None)


def _corrupt(key: PayloadKey) -> TaskError:
    what = f"the {key.direction}put {key.name!r}"
    return TaskError(code="corrupt", message=f"the broker lost {what}; submit the task again")
