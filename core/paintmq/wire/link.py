"""The traffic of one connection: small messages coalesced, large payloads in bursts.

A ZeroMQ message is one head frame (items: a header and a body each) and then payload frames, in
the order of the items. A message whose payloads are small carries them at once. Bigger payloads
are a *transfer*: cut into pieces of 1 MiB and sent in bursts of up to four, of which eight may be
under way, four if they are as large as that;
credits from the receiver let the next ones go. So a cancel or a heartbeat never waits behind an
image, and neither side holds more than it agreed to.

Rule 1: no payload byte is copied on the way out, nor on the way in unless it came in pieces.
Rule 2: whatever arrives, ``receive`` returns deliveries or raises WireError.
Rule 3: messages that come in large numbers are written as runs to a peer that reads them, see
``runs.py``; neither who sends nor who receives sees a difference.
Rule 4: a hello, sent or received, starts the connection anew: what was under way in either
direction is dropped. Whatever mattered is sent again after the welcome.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from attrs import frozen

from paintmq.errors import WireError
from paintmq.task import Buffer, PayloadInfo
from paintmq.units import MIB
from paintmq.wire.codec import Parts, decode_body, encode_parts
from paintmq.wire.frames import (
    CHUNK,
    CREDIT,
    HEADER_BYTES,
    REFERENCES,
    RUN,
    SHARE,
    Header,
    unpack_header,
)
from paintmq.wire.message_class import message_forms
from paintmq.wire.messages import RUNS_VERSION, Message, Welcome, WorkerWelcome
from paintmq.wire.runs import MOST_SENT, RUN_KINDS, decode_run, encode_run
from paintmq.wire.sharing import PayloadSharing
from paintmq.wire.transfer import (
    INLINE_BYTES,
    MAX_PAYLOADS,
    WINDOW,
    WINDOW_BYTES,
    IncomingTransfer,
    OutgoingTransfer,
    Payload,
    joined,
    size_of,
)

__all__ = ["Buffer", "Delivery", "Link", "LinkLimits"]

MAX_HEAD_BYTES = 2 * MIB
"""Of a head frame: no more than a socket takes (MAXMSGSIZE)."""
MAX_ITEMS = 256
"""Messages in one ZeroMQ message, those in runs included."""
COALESCED_ITEMS = 32
"""Sent in one ZeroMQ message: a reader takes turns between peers message by message."""
MAX_FRAMES = 1 + MAX_PAYLOADS
"""Of one ZeroMQ message: the head, and payloads."""
_COALESCED_BYTES = 256 * 1024
"""Size beyond which nothing more is coalesced into a head frame, or the payloads beside it."""
_CREDIT_STEP = WINDOW // 2
"""Credits are returned in steps of half a window, which keeps the sender going."""

_HELLOS = frozenset(cls for cls, form in message_forms().items() if form.hello)
_PAYLOADS = {cls: form.payloads for cls, form in message_forms().items() if form.payloads}
_WORK = frozenset(cls for cls, form in message_forms().items() if form.work)
_WELCOMES = (Welcome, WorkerWelcome)
_LONG_MEMBER = 4_096
"""Bytes of a body beyond which a message is written alone: a run must not grow too long."""


@frozen(kw_only=True)
class LinkLimits:
    """How much memory one peer may occupy."""

    max_message_bytes: int = 1024 * MIB
    """Payload bytes of one message; one is reassembled at a time."""


class Delivery(NamedTuple):
    """A message that has arrived whole, with its payloads in the order of ``payloads_of``."""

    message: Message
    received: tuple[Payload, ...] = ()
    """As they came, perhaps in pieces: to be passed on."""
    refusal: str = ""
    """Why its payloads are refused; if set, there are none here and none will come."""

    @property
    def payloads(self) -> tuple[Buffer, ...]:
        """The payloads, each in one piece; joined anew with every call if they are not."""
        return tuple(map(joined, self.received))


class _Item(NamedTuple):
    """A message that fits into the next ZeroMQ message, small payloads included."""

    head: bytes
    """Header and body."""
    payloads: tuple[Buffer, ...] = ()
    payload_bytes: int = 0
    messages: int = 1


_Member: TypeAlias = tuple[Message, Sequence[Payload], int, Parts | None]
"""A message that waits for others of its kind, to be written as a run with them; its payloads and
their bytes; and what it is alone, if it was encoded before."""


class Link:
    """Both directions of one connection; pure. Make a new one for each new connection."""

    def __init__(self, limits: LinkLimits = LinkLimits(), *, work_apart: bool = False) -> None:
        self.work_apart = work_apart
        """Put tasks and results into no multipart with anything else; see ``is_work``. They may
        then take another way than the rest, as long as they stay in order among themselves."""
        self.sharing: PayloadSharing | None = None
        """Names large payloads by their places in memory that both peers have, where it can."""
        self._limits = limits
        self._next_number = 1
        self._start_anew()

    def _start_anew(self) -> None:
        self._small: deque[_Item] = deque()
        self._work: deque[_Item] = deque()
        self._transfers: deque[OutgoingTransfer] = deque()
        self._writes_runs = False
        self._run: list[_Member] = []
        self._run_bytes = 0
        self._under_way: deque[int] = deque()
        """Bytes of each burst that was sent and not credited."""
        self._incoming: IncomingTransfer | None = None
        self._owed = 0
        self._room = WINDOW
        self._queued_bytes = 0

    @property
    def is_idle(self) -> bool:
        """Whether everything sent so far was given out by ``outgoing``."""
        waits = self._small or self._work or self._transfers or self._run
        return not waits and self._owed < _CREDIT_STEP

    @property
    def arriving(self) -> Message | None:
        """The message whose payloads are still arriving; None if there is none."""
        return None if self._incoming is None else self._incoming.message

    @property
    def arrived_bytes(self) -> int:
        """Payload bytes held for it."""
        return 0 if self._incoming is None else self._incoming.arrived_bytes

    def forget_arriving(self) -> None:
        """Drop the arriving message; bursts of it that still come are dropped, and credited."""
        self._incoming = None

    @property
    def queued_bytes(self) -> int:
        """Bytes that were sent but not yet given out: for back-pressure."""
        return self._queued_bytes + self._run_bytes

    def send(
        self,
        message: Message,
        payloads: Sequence[Payload] = (),
        *,
        parts: Parts | None = None,
        check: bool = False,
    ) -> None:
        """Queue the message. After this, call ``outgoing``.

        The buffers are kept, not copied, until they are given out: do not change them. ``parts``
        are the message as it was encoded before, if it was. ``check`` makes sure that the peer can
        read it, for a message that holds what others have made.

        Raises:
            ValueError: the payloads are not those the message describes.
            WireError: the message is too large to be sent.
        """
        kind = type(message)
        infos = _PAYLOADS[kind](message) if kind in _PAYLOADS else ()
        total = _checked_size(message, infos, payloads) if infos or payloads else 0
        if self._writes_runs:
            if kind in RUN_KINDS and total <= INLINE_BYTES:
                if check and parts is None:
                    parts = encode_parts(message, check=True)
                self._into_run((message, payloads, total, parts))
                return
            self._end_run()
        header, body = parts or encode_parts(message, check=check)
        if kind in _HELLOS:
            self._start_anew()
        if total <= INLINE_BYTES:
            self._into_line(message, header, body, payloads, total)
        elif (
            self.sharing is not None
            and (references := self.sharing.refer(message, payloads)) is not None
        ):
            head = header._replace(frames=1, sequence=REFERENCES).pack() + body
            apart = self.work_apart and type(message) in _WORK
            line = self._work if apart else self._small
            line.append(_Item(head, (references,), len(references)))
            self._queued_bytes += len(head) + len(references)
        else:
            self._queued_bytes += total
            number, self._next_number = self._next_number, self._next_number % 0xFFFF_FFFF + 1
            self._transfers.append(OutgoingTransfer(header, body, number, payloads))

    def _into_line(
        self,
        message: Message,
        header: Header,
        body: bytes,
        payloads: Sequence[Payload],
        total: int,
        messages: int = 1,
    ) -> None:
        """Queue a message with small payloads, or a run of such."""
        head = header.pack(frames=len(payloads)) + body
        frames = tuple(map(joined, payloads)) if payloads else ()
        line = self._work if self.work_apart and type(message) in _WORK else self._small
        line.append(_Item(head, frames, total, messages))
        self._queued_bytes += len(head) + total

    def _into_run(self, member: _Member) -> None:
        message, _, size, parts = member
        if self._run and (
            type(self._run[0][0]) is not type(message) or self._run_bytes + size > INLINE_BYTES
        ):
            self._end_run()
        self._run.append(member)
        self._run_bytes += size
        if len(self._run) == MOST_SENT or (parts is not None and len(parts[1]) > _LONG_MEMBER):
            self._end_run()

    def _end_run(self) -> None:
        """Queue what waited for others of its kind."""
        if not self._run:
            return
        members, total = self._run, self._run_bytes
        self._run, self._run_bytes = [], 0
        if len(members) > 1:
            messages = [member[0] for member in members]
            try:
                body = encode_run(messages)
            except WireError:
                pass  # one of them cannot be sent: the others must not suffer from it
            else:
                header = Header(RUN_KINDS[type(messages[0])], len(body), sequence=RUN)
                parts = [joined(payload) for member in members for payload in member[1]]
                frames = (b"".join(parts),) if parts else ()
                self._into_line(messages[0], header, body, frames, total, len(members))
                return
        failure: WireError | None = None
        for message, payloads, size, known in members:
            try:
                header, body = known or encode_parts(message)
            except WireError as error:
                failure = error
            else:
                self._into_line(message, header, body, payloads, size)
        if failure is not None:
            raise failure

    def share(self, said: bytes) -> None:
        """Queue what is said of memory that both peers have; nothing, if it is empty."""
        if said:
            self._end_run()
            head = Header(SHARE, len(said)).pack() + said
            self._small.append(_Item(head))
            self._queued_bytes += len(head)

    def outgoing(self) -> list[list[Buffer]]:
        """Return the multipart messages that may be sent now, in order, each only once.

        Call it after every ``send`` and every ``receive``.

        Raises:
            WireError: a message that waited for others of its kind cannot be sent.
        """
        multiparts: list[list[Buffer]] = []
        self._end_run()
        if self._owed >= _CREDIT_STEP:
            # Made here, not on arrival: credits must not pile up for a peer that reads nothing.
            credit = Header(CREDIT, number=self._owed).pack()
            self._small.append(_Item(credit))
            self._queued_bytes += len(credit)
            self._room += self._owed
            self._owed = 0
        for line in (self._small, self._work):
            while line:
                multiparts.append(self._coalesced(line))
        while self._transfers and self._may_send_burst():
            multiparts.append(self._next_burst())
        return multiparts

    def receive(self, frames: Sequence[Buffer]) -> list[Delivery]:
        """Return the messages that are complete now that this multipart has arrived.

        Raises:
            WireError: this breaks the protocol. The connection cannot go on: drop this link, and
                answer ``VersionMismatchError`` with Refused, anything else with WhoAreYou, so that
                an honest peer starts anew.
        """
        if not frames:
            raise WireError("a message without frames")
        if len(frames) > MAX_FRAMES:
            raise WireError(f"{len(frames)} frames are too many: {MAX_FRAMES} at most")
        head = frames[0]
        if len(head) > MAX_HEAD_BYTES:
            raise WireError(f"a head of {len(head)} bytes is too large: {MAX_HEAD_BYTES} at most")
        view, size, count = memoryview(head), len(head), len(frames)
        deliveries: list[Delivery] = []
        offset, used, items = 0, 1, 0
        while offset < size or items == 0:
            header = unpack_header(head, offset)
            start = offset + HEADER_BYTES
            offset = start + header.body_bytes
            if offset > size:
                raise WireError("the body is not as long as its header says")
            if (items := items + 1) > MAX_ITEMS:
                raise WireError(f"more than {MAX_ITEMS} messages in one")
            payloads: Sequence[Buffer] = ()
            if header.frames:
                payloads = frames[used : used + header.frames]
                used += header.frames
                if used > count:
                    raise WireError("payload frames are missing")
            body = view[start:offset]
            if header.kind == CHUNK:
                deliveries += self._burst_received(header, payloads)
            elif header.kind == CREDIT:
                self._credit_received(header.number)
            elif header.kind == SHARE:
                if self.sharing is not None:  # else the peer gets no answer, and sends bytes
                    self.share(self.sharing.heard(body))
            elif header.sequence == RUN and header.number == 0:
                members = self._run_received(header, body, payloads)
                if (items := items + len(members) - 1) > MAX_ITEMS:
                    raise WireError(f"more than {MAX_ITEMS} messages in one")
                deliveries += members
            else:
                deliveries += self._message_received(header, body, payloads)
        if used != count:
            raise WireError("payload frames that belong to no message")
        return deliveries

    def _credit_received(self, bursts: int) -> None:
        # Late credits from before a hello may come on top of a whole window.
        if bursts > 2 * WINDOW:
            raise WireError(f"a credit of {bursts} is more than can be under way")
        for _ in range(min(bursts, len(self._under_way))):
            self._under_way.popleft()

    def _message_received(
        self, header: Header, body: Buffer, payloads: Sequence[Buffer]
    ) -> list[Delivery]:
        message = decode_body(header, body)
        kind = type(message)
        if kind in _HELLOS:
            self._start_anew()
            self._writes_runs = message.newest >= RUNS_VERSION  # type: ignore[union-attr]  # a hello
        elif isinstance(message, _WELCOMES):
            self._writes_runs = message.newest >= RUNS_VERSION
        if self.sharing is not None and header.sequence != REFERENCES:
            self.sharing.arrived(message)
        infos = _PAYLOADS[kind](message) if kind in _PAYLOADS else ()
        if not infos and not payloads and header.number == 0:
            return [Delivery(message)]  # most messages bring no payloads
        if header.number == header.sequence == 0 and len(infos) == len(payloads) == 1:
            payload = payloads[0]  # and most others a small one
            if len(payload) == infos[0].size <= INLINE_BYTES:
                return [Delivery(message, (payload,))]
        sizes = [info.size for info in infos]
        total = sum(sizes)
        if len(sizes) > MAX_PAYLOADS:
            raise WireError(f"{len(sizes)} payloads are too many: {MAX_PAYLOADS} at most")
        if header.number == 0 and header.sequence == REFERENCES:
            return [self._resolved(message, infos, total, payloads)]
        if header.number == 0:
            if total > INLINE_BYTES or [len(payload) for payload in payloads] != sizes:
                raise WireError("the payloads are not those the message describes")
            return [Delivery(message, tuple(payloads))]
        if total <= INLINE_BYTES or header.sequence != 0:
            raise WireError("this is no beginning of a transfer")
        if refusal := self._too_large(total):
            self._incoming = None
            self._owe_a_credit()
            return [Delivery(message, refusal=refusal)]
        # A transfer still under way is from before a hello, or its end was lost.
        self._incoming = IncomingTransfer(message, header.number, sizes)
        return self._burst_received(header, payloads)

    def _run_received(
        self, header: Header, body: Buffer, frames: Sequence[Buffer]
    ) -> list[Delivery]:
        """Return the members of a run, whose payloads are one frame."""
        messages = decode_run(header.kind, body)
        if self.sharing is not None:
            for message in messages:
                self.sharing.arrived(message)
        read = _PAYLOADS.get(type(messages[0]))
        if read is None:
            if frames:
                raise WireError("a run with payloads of messages that have none")
            return [Delivery(message) for message in messages]
        data, start, deliveries = memoryview(frames[0] if frames else b""), 0, []
        for message in messages:
            payloads = []
            for info in read(message):
                payloads.append(bytes(data[start : start + info.size]))
                start += info.size
            deliveries.append(Delivery(message, tuple(payloads)))
        if start != len(data) or start > INLINE_BYTES or len(frames) > 1:
            raise WireError("the payloads are not those the run describes")
        return deliveries

    def _resolved(
        self,
        message: Message,
        infos: Sequence[PayloadInfo],
        total: int,
        frames: Sequence[Buffer],
    ) -> Delivery:
        """Return a message whose payloads lie in memory that both peers have."""
        if self.sharing is None or len(frames) != 1:
            raise WireError("a message with payloads in memory that is not shared")
        found = self.sharing.resolve(message, frames[0], infos)
        if refusal := self._too_large(total):
            return Delivery(message, refusal=refusal)
        if found is None:
            return Delivery(message, refusal="its payloads are no longer where they were")
        return Delivery(message, found)

    def _too_large(self, total: int) -> str:
        most = self._limits.max_message_bytes
        return f"{total} bytes of payloads are too many: {most} at most" if total > most else ""

    def _burst_received(self, header: Header, payloads: Sequence[Buffer]) -> list[Delivery]:
        self._owe_a_credit()
        transfer = self._incoming
        if transfer is None or transfer.number != header.number:
            # Sent before one side started anew, so it belongs to no message. It still earns a
            # credit, or the sender would wait for that for ever.
            return []
        transfer.add(header.sequence, payloads)
        if not transfer.is_complete:
            return []
        self._incoming = None
        return [Delivery(transfer.message, transfer.payloads)]

    def _owe_a_credit(self) -> None:
        self._owed += 1
        self._room -= 1
        # Another window may have been on its way when one side started anew.
        if self._room < -WINDOW:
            raise WireError("more bursts than there was credit for")

    def _coalesced(self, line: deque[_Item]) -> list[Buffer]:
        """Take as many small messages as one ZeroMQ message should hold."""
        heads: list[bytes] = []
        payloads: list[Buffer] = []
        head_bytes = payload_bytes = messages = 0
        while line and messages < COALESCED_ITEMS:
            head, frames, size, count = line[0]
            head_bytes += len(head)
            payload_bytes += size
            messages += count
            if heads and (
                messages > COALESCED_ITEMS
                or head_bytes > _COALESCED_BYTES
                or payload_bytes > _COALESCED_BYTES
                or len(payloads) + len(frames) > MAX_PAYLOADS
            ):
                head_bytes -= len(head)
                payload_bytes -= size
                break
            heads.append(head)
            if frames:
                payloads += frames
            line.popleft()
        self._queued_bytes -= head_bytes + payload_bytes
        return [b"".join(heads) if len(heads) > 1 else heads[0], *payloads]

    def _may_send_burst(self) -> bool:
        # The peer credits half a window at once, so that much has to go, however large.
        count = len(self._under_way)
        return count < _CREDIT_STEP or (count < WINDOW and sum(self._under_way) < WINDOW_BYTES)

    def _next_burst(self) -> list[Buffer]:
        transfer = self._transfers[0]
        burst, size = transfer.next_burst()
        self._under_way.append(size)
        self._queued_bytes -= size
        if transfer.is_done:
            self._transfers.popleft()
        return burst


def _checked_size(
    message: Message, infos: Sequence[PayloadInfo], payloads: Sequence[Payload]
) -> int:
    """Return the bytes of a message's payloads, if they are those that it describes.

    Raises:
        ValueError: they are not.
        WireError: they are too many.
    """
    if len(infos) == len(payloads) == 1:
        size = size_of(payloads[0])
        if size == infos[0].size:
            return size
    sizes = [size_of(payload) for payload in payloads]
    if sizes != [info.size for info in infos]:
        raise ValueError(
            f"{type(message).__name__} describes payloads of {[i.size for i in infos]} bytes "
            f"and is sent with {sizes}"
        )
    if len(sizes) > MAX_PAYLOADS:
        raise WireError(f"{len(sizes)} payloads are too many: {MAX_PAYLOADS} at most")
    return sum(sizes)
