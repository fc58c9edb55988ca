"""A client's end of the arena it shares with its broker; one for each connection."""

import os
from collections import deque
from collections.abc import Sequence

from attrs import define, field, frozen

from paintmq.errors import WireError
from paintmq.shared_memory.memory_file import open_file
from paintmq.shared_memory.ranges import Ranges, place_of, view_of, view_or_copy
from paintmq.shared_memory.reference import (
    HEADER_BYTES,
    PAGE,
    Reference,
    header,
    packed,
    place_bytes,
    unpacked,
)
from paintmq.shared_memory.said import (
    ARENA,
    PROVE,
    arena_said,
    kind_of,
    say_proof,
    say_released,
    where_said,
)
from paintmq.task import Buffer, PayloadInfo, TaskId
from paintmq.wire.messages import Finished, Message, Submit
from paintmq.wire.sharing import PayloadSharing
from paintmq.wire.transfer import Payload


@frozen
class Placed:
    """An input in the arena."""

    payload: Buffer
    """To be sent; its place is in use as long as this is."""
    written: memoryview
    """The same bytes, where they were written: quicker to read just now."""


@define(eq=False)
class _Lent:
    """Tells the broker that a result is not viewed any more, by going itself."""

    offset: int
    _released: deque[int]
    _process: int = field(factory=os.getpid)

    def __del__(self) -> None:
        if self._process == os.getpid():
            self._released.append(self.offset)


@define(eq=False)
class ClientArena(PayloadSharing):
    """What one connection has in common with its broker. ``put`` may be called by any thread."""

    _inputs: Ranges | None = field(default=None, init=False)
    _outputs_begin: int = field(default=0, init=False)
    _sent: dict[TaskId, tuple[Payload, ...]] = field(
        factory=dict[TaskId, tuple[Payload, ...]], init=False
    )
    """Inputs that the broker was told of: in use until their task has ended."""
    _released: deque[int] = field(factory=deque[int], init=False)

    def put(self, data: memoryview) -> Placed | None:
        """Copy an input into the arena; None if there is none, or no room in it."""
        inputs = self._inputs  # once: the session's thread may close us meanwhile
        if inputs is None:
            return None
        taken = inputs.take(place_bytes(data.nbytes))
        if taken is None:
            return None
        reference = Reference(inputs.file.where, taken.offset, taken.fence)
        try:
            payload = view_of(inputs.file, reference, data.nbytes, held=taken)
        except WireError:
            return None
        whole = inputs.file.whole()
        begin = taken.offset + HEADER_BYTES
        whole[taken.offset : taken.offset + HEADER_BYTES] = header(taken.fence, data.nbytes).ljust(
            HEADER_BYTES, b"\0"
        )
        whole[begin : begin + data.nbytes] = data
        return Placed(payload, memoryview(whole)[begin : begin + data.nbytes])

    def ended(self, task_id: TaskId) -> None:
        """Let go of the inputs of a task that has ended: the broker needs them no longer."""
        self._sent.pop(task_id, None)

    def take_over(self, earlier: "ClientArena") -> None:
        """Keep what an earlier connection has sent in place, until its tasks have ended too.

        The broker still has them, and another thread may be putting something there just now.
        """
        self._sent.update(earlier._sent)

    def close(self) -> None:
        """Let go of the file; what is viewed of it stays where it is."""
        self._inputs = None

    def take_released(self) -> bytes:
        """Return what to tell the broker of results that were let go of; empty for nothing."""
        offsets = []
        while self._released:
            offsets.append(self._released.popleft())
        return say_released(offsets) if offsets else b""

    # ---- for the link --------------------------------------------------------------------------

    def heard(self, said: Buffer) -> bytes:
        match kind_of(said):
            case kind if kind == PROVE:
                file = open_file(where_said(said))
                return b"" if file is None else say_proof(file.secret)
            case kind if kind == ARENA:
                self._open(said)
            case _:
                raise WireError("a broker says of shared memory what only a client may say")
        return b""

    def _open(self, said: Buffer) -> None:
        where, outputs_begin = arena_said(said)
        file = open_file(where)
        if file is None or not PAGE < outputs_begin <= file.size:
            return
        try:
            file.whole()
        except (OSError, ValueError):  # no addresses are left for it
            return
        self._inputs, self._outputs_begin = Ranges(file, PAGE, outputs_begin), outputs_begin

    def refer(self, message: Message, payloads: Sequence[Payload]) -> bytes | None:
        if self._inputs is None or not isinstance(message, Submit):
            return None
        places = [place_of(payload) for payload in payloads]
        mine = [place for place in places if place and place.file is self._inputs.file]
        if len(mine) != len(payloads):
            return None
        self._sent[message.task.id] = tuple(payloads)
        return packed([place.reference for place in mine])

    def resolve(
        self, message: Message, references: Buffer, infos: Sequence[PayloadInfo]
    ) -> tuple[Buffer, ...] | None:
        if self._inputs is None or not isinstance(message, Finished):
            raise WireError(f"a {type(message).__name__} with payloads in no arena")
        file = self._inputs.file
        payloads = []
        for reference, info in zip(unpacked(references, len(infos)), infos, strict=True):
            if reference.where.arena != file.arena or reference.offset < self._outputs_begin:
                raise WireError("a result that lies in no arena of ours")
            lent = _Lent(reference.offset, self._released)
            payloads.append(view_or_copy(file, reference, info.size, private=True, held=lent))
        return tuple(payloads)

    def arrived(self, message: Message) -> None:
        pass
