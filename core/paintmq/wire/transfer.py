"""Payloads too large to be sent at once: cut into pieces, and put together again.

A piece is 1 MiB of one payload, or what is left of it. A burst is as many pieces, in order, as
fit into 4 MiB and one ZeroMQ message. The first burst follows its message; each further one
follows a CHUNK header with the number of the transfer and its own sequence number.
"""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

from attrs import frozen

from paintmq.errors import WireError
from paintmq.task import Buffer
from paintmq.units import MIB
from paintmq.wire.frames import CHUNK, Header
from paintmq.wire.messages import Message

INLINE_BYTES = 64 * 1024
"""Payloads of one message up to this sum travel with it, outside the window."""
PIECE_BYTES = MIB
"""Measured: 1 MiB pieces with a window of 8 gave the best throughput of all sizes tried, and a
control message beside them waited 3 ms instead of 20."""
BURST_BYTES = 4 * MIB
"""Each ZeroMQ message wakes a thread at either end, which costs more than to read it: in bursts of
1 MiB a picture of 12.6 MB took a fifth more processor time."""
WINDOW = 8
"""Bursts of one direction that may be under way."""
WINDOW_BYTES = 16 * MIB
"""Beyond half a window, no more is sent while so much is under way: a heartbeat or a cancel waits
behind that, on a slow network for long."""
MAX_PAYLOADS = 1_024
"""Payloads of one message."""


@frozen(eq=False)
class Pieces:
    """A payload in the pieces that it came in.

    To join them costs as much as all else that a broker does for a picture, in memory that the
    system must first provide; who only passes it on need not.
    """

    pieces: tuple[Buffer, ...]
    nbytes: int


Payload: TypeAlias = Buffer | Pieces
"""A payload as it came."""


def size_of(payload: Payload) -> int:
    return payload.nbytes if isinstance(payload, Pieces) else memoryview(payload).nbytes


def joined(payload: Payload) -> Buffer:
    return b"".join(payload.pieces) if isinstance(payload, Pieces) else payload


def pieces_of(payload: Payload) -> list[memoryview]:
    """Return the payload's bytes in order, in one piece or several."""
    pieces = payload.pieces if isinstance(payload, Pieces) else (payload,)
    return [memoryview(piece).cast("B") for piece in pieces]


def _cut(size: int) -> list[tuple[int, int]]:
    """Return begin and end of each piece of a payload; an empty payload is one empty piece."""
    return list(pairwise([*range(0, size, PIECE_BYTES), size])) or [(0, 0)]


class OutgoingTransfer:
    """A message and its payloads, handed out burst by burst."""

    def __init__(
        self, header: Header, body: bytes, number: int, payloads: Sequence[Payload]
    ) -> None:
        self._header = header._replace(number=number)
        self._body = body
        self._sequence = 0
        self._pieces: deque[memoryview] = deque()
        for payload in payloads:
            views = pieces_of(payload)
            if isinstance(payload, Pieces):
                self._pieces.extend(views)  # as they were cut by whoever sent them
            else:
                self._pieces.extend(views[0][begin:end] for begin, end in _cut(len(views[0])))

    @property
    def is_done(self) -> bool:
        return not self._pieces

    def next_burst(self) -> tuple[list[Buffer], int]:
        """Return the next multipart message and how many payload bytes it carries."""
        pieces = [self._pieces.popleft()]
        size = len(pieces[0])
        while self._pieces and size + len(self._pieces[0]) <= BURST_BYTES:
            pieces.append(self._pieces.popleft())
            size += len(pieces[-1])
        if self._sequence == 0:
            head = self._header._replace(frames=len(pieces)).pack() + self._body
        else:
            head = Header(
                CHUNK,
                task_id=self._header.task_id,
                frames=len(pieces),
                number=self._header.number,
                sequence=self._sequence,
            ).pack()
        self._sequence += 1
        return [head, *pieces], size


class IncomingTransfer:
    """A message whose payloads are arriving."""

    def __init__(self, message: Message, number: int, sizes: Sequence[int]) -> None:
        self.message = message
        self.number = number
        self._sequence = 0
        self._sizes = sizes
        self._filled: list[Payload] = []
        self._pieces: list[Buffer] = []
        self._arrived = 0
        self.arrived_bytes = 0
        """Payload bytes held so far."""

    @property
    def is_complete(self) -> bool:
        return len(self._filled) == len(self._sizes)

    @property
    def payloads(self) -> tuple[Payload, ...]:
        return tuple(self._filled)

    def add(self, sequence: int, pieces: Sequence[Buffer]) -> None:
        """Take the pieces of the next burst.

        Raises:
            WireError: they are not the ones that come next.
        """
        if sequence != self._sequence:
            raise WireError("a part of a transfer is missing")
        if not pieces:
            raise WireError("a part of a transfer without payload frames")
        self._sequence += 1
        for piece in pieces:
            self._add_piece(piece)

    def _add_piece(self, piece: Buffer) -> None:
        if self.is_complete:
            raise WireError("a transfer is longer than its message says")
        size = self._sizes[len(self._filled)]
        if len(piece) != min(PIECE_BYTES, size - self._arrived):
            raise WireError("a part of a transfer is not as long as it should be")
        self.arrived_bytes += len(piece)
        if size <= PIECE_BYTES:
            self._filled.append(piece)
            return
        self._pieces.append(piece)
        self._arrived += len(piece)
        if self._arrived == size:
            # Not joined: who needs it in one piece does so, once. A buffer made at the beginning
            # would let a peer take memory for what it never sends.
            self._filled.append(Pieces(tuple(self._pieces), size))
            self._pieces, self._arrived = [], 0
