"""The broker's arenas: it makes them, grants places in them, and checks what peers say of them."""

from collections.abc import Sequence
from weakref import WeakSet

from attrs import define, field, frozen

from paintmq.errors import WireError
from paintmq.shared_memory.memory_file import MemoryFile, make_file
from paintmq.shared_memory.ranges import Ranges, Taken, place_of, view_or_copy
from paintmq.shared_memory.reference import (
    NO_ROOM,
    PAGE,
    Reference,
    Span,
    packed,
    place_bytes,
    unpacked,
)
from paintmq.shared_memory.said import (
    PROOF,
    RELEASED,
    ArenaSaid,
    kind_of,
    released_said,
    say_arena,
    say_prove,
)
from paintmq.task import Buffer, Fence, PayloadInfo, TaskId
from paintmq.units import MIB
from paintmq.wire.messages import (
    Assign,
    Assignment,
    AttemptCrashed,
    AttemptFailed,
    AttemptReturned,
    AttemptSucceeded,
    Finished,
    Message,
    Submit,
)
from paintmq.wire.sharing import PayloadSharing
from paintmq.wire.transfer import Payload

INPUT_BYTES = 512 * MIB
"""Of each arena, in addresses; memory is only taken by what was written. What finds no place there
travels as bytes."""
OUTPUT_BYTES = 1024 * MIB
"""More, as results are kept for a while after their client has them."""
MOST_ARENAS = 64
"""At a time, with those of clients that have left tasks behind: each is an open file."""
SPARE_BYTES = 64 * 1024
"""Room beyond what outputs are expected to need: for a colour profile, a note."""
MOST_MODELS = 1_000
"""Models whose outputs are remembered."""

_ENDINGS = (AttemptSucceeded, AttemptFailed, AttemptReturned, AttemptCrashed)


@define(eq=False)
class Arena:
    """Of one connection of one client."""

    file: MemoryFile
    outputs: Ranges

    @classmethod
    def make(cls) -> "Arena | None":
        file = make_file(INPUT_BYTES + OUTPUT_BYTES)
        if file is None:
            return None
        return cls(file, Ranges(file, INPUT_BYTES, INPUT_BYTES + OUTPUT_BYTES))


@frozen(eq=False)
class _Grant:
    """Room for the outputs of one attempt."""

    arena: Arena
    taken: Taken
    model: str
    expected: int
    """Bytes of the inputs as pixels: what outputs are compared with."""


@define(eq=False)
class Arenas:
    """All arenas of a broker, and what was granted in them. Used by its loop alone."""

    _proof: MemoryFile | None
    _open: dict[bytes, Arena] = field(factory=dict[bytes, Arena], init=False)
    _files: "WeakSet[MemoryFile]" = field(factory=WeakSet, init=False)
    """Those of clients that are gone too, as long as something lies in them."""
    _grants: dict[tuple[TaskId, Fence], _Grant] = field(
        factory=dict[tuple[TaskId, Fence], _Grant], init=False
    )
    _growth: dict[str, float] = field(factory=dict[str, float], init=False)
    """The outputs of each model, at most, in multiples of its inputs."""

    @classmethod
    def make(cls, *, enabled: bool) -> "Arenas":
        """Get ready to share memory; where that is not possible, all ends are None."""
        return cls(make_file(PAGE) if enabled else None)

    def client_end(self) -> "ClientEnd | None":
        return None if self._proof is None else ClientEnd(self, self._proof.secret)

    def worker_end(self) -> "WorkerEnd | None":
        return None if self._proof is None else WorkerEnd(self, self._proof.secret)

    def greeting(self) -> bytes:
        """Return what to say to a peer that has introduced itself; empty once closed."""
        return b"" if self._proof is None else say_prove(self._proof.where)

    def close_all(self) -> None:
        """Let go of every file, so that none stays open until garbage is collected."""
        self._proof = None
        self._open.clear()
        self._grants.clear()

    @property
    def grants(self) -> int:
        """Attempts that were granted room and have not ended."""
        return len(self._grants)

    def open(self) -> Arena | None:
        arena = Arena.make() if len(self._files) < MOST_ARENAS else None
        if arena is not None:
            self._open[arena.file.arena] = arena
            self._files.add(arena.file)
        return arena

    def close(self, arena: Arena) -> None:
        """Grant nothing more in it; what lies there stays until it is not needed any more."""
        self._open.pop(arena.file.arena, None)
        self._grants = {k: each for k, each in self._grants.items() if each.arena is not arena}

    def grant(self, assignment: Assignment, reference: Reference) -> Span:
        """Return room for the outputs of an attempt, beside its input; none if there is none.

        It is granted until the worker says how the attempt ended. The room of a worker that never
        says so is lost to this arena: it might still write there.
        """
        arena = self._open.get(reference.where.arena)
        task = assignment.task
        if arena is None or (task.id, assignment.fence) in self._grants:
            return NO_ROOM
        expected = sum(max(info.size, info.width * info.height * 3) for info in task.inputs)
        size = int(expected * self._growth.get(task.model, 1.0)) + SPARE_BYTES
        taken = arena.outputs.take(place_bytes(size))
        if taken is None:
            return NO_ROOM
        grant = _Grant(arena, taken, task.model, expected)
        self._grants[task.id, assignment.fence] = grant
        return Span(taken.offset, taken.bytes, taken.fence)

    def results(
        self, message: AttemptSucceeded, references: Sequence[Reference]
    ) -> tuple[Buffer, ...] | None:
        """Return the outputs that lie in the room that was granted for them; None: it is gone.

        Raises:
            WireError: they lie elsewhere.
        """
        grant = self._grants.pop((message.task_id, message.fence), None)
        if grant is None:
            return None
        file, taken = grant.arena.file, grant.taken
        for reference, info in zip(references, message.outputs, strict=True):
            end = reference.offset + place_bytes(info.size)
            if reference.where.arena != file.arena or not (
                taken.offset <= reference.offset and end <= taken.offset + taken.bytes
            ):
                raise WireError("a result in shared memory that was not granted to it")
        return tuple(
            view_or_copy(
                file, Reference(file.where, each.offset, taken.fence), info.size, held=taken
            )
            for each, info in zip(references, message.outputs, strict=True)
        )

    def ended(self, message: Message) -> None:
        """Take back the room of an attempt whose outputs are not there."""
        if not isinstance(message, _ENDINGS):
            return
        grant = self._grants.pop((message.task_id, message.fence), None)
        if grant is None or not isinstance(message, AttemptSucceeded) or not grant.expected:
            return
        # It did not fit: the next ones get more.
        size = sum(place_bytes(info.size) for info in message.outputs)
        if len(self._growth) >= MOST_MODELS:
            self._growth.clear()
        known = self._growth.get(grant.model, 1.0)
        self._growth[grant.model] = max(known, size / grant.expected)


@define(eq=False)
class _BrokerEnd(PayloadSharing):
    """What the broker's ends of all connections do."""

    _arenas: Arenas
    _secret: bytes

    def greeting(self) -> bytes:
        """Return what to say to a peer that has introduced itself."""
        return self._arenas.greeting()

    def _check_proof(self, said: Buffer) -> None:
        if kind_of(said) != PROOF or bytes(said[1:]) != self._secret:
            raise WireError("this is no proof of having memory in common")


@define(eq=False)
class ClientEnd(_BrokerEnd):
    """The broker's end of a connection to a client."""

    _arena: Arena | None = field(default=None, init=False)
    _lent: dict[int, list[object]] = field(factory=dict[int, list[object]], init=False)
    """What holds the places of results that the client may be reading."""

    def heard(self, said: Buffer) -> bytes:
        match kind_of(said):
            case kind if kind == PROOF:
                self._check_proof(said)
                return self._open_arena()
            case kind if kind == RELEASED:
                self._released(released_said(said))
            case _:
                raise WireError("a client says of shared memory what only a broker may say")
        return b""

    def _open_arena(self) -> bytes:
        if self._arena is None:
            self._arena = self._arenas.open()
        if self._arena is None:
            return b""
        return say_arena(ArenaSaid(self._arena.file.where, INPUT_BYTES))

    def _released(self, offsets: Sequence[int]) -> None:
        for offset in offsets:
            if not (holders := self._lent.get(offset)):
                raise WireError(f"nothing was lent at {offset} of the arena")
            holders.pop()
            if not holders:
                del self._lent[offset]
        if self._arena is not None:
            self._arena.outputs.tidy()

    def refer(self, message: Message, payloads: Sequence[Payload]) -> bytes | None:
        """Name the outputs of a task, if they all lie in this client's own arena."""
        if self._arena is None or not isinstance(message, Finished):
            return None
        places = [place_of(payload) for payload in payloads]
        mine = [place for place in places if place and place.file is self._arena.file]
        if len(mine) != len(payloads):
            return None
        for place in mine:
            self._lent.setdefault(place.reference.offset, []).append(place.held)
        return packed([place.reference for place in mine])

    def resolve(
        self, message: Message, references: Buffer, infos: Sequence[PayloadInfo]
    ) -> tuple[Buffer, ...] | None:
        if self._arena is None or not isinstance(message, Submit):
            raise WireError(f"a {type(message).__name__} with payloads in no arena of its own")
        file = self._arena.file
        found = unpacked(references, len(infos))
        for reference, info in zip(found, infos, strict=True):
            end = reference.offset + place_bytes(info.size)
            if reference.where.arena != file.arena or end > INPUT_BYTES:
                raise WireError("an input that lies outside its client's arena")
        return tuple(
            view_or_copy(file, Reference(file.where, each.offset, each.fence), info.size)
            for each, info in zip(found, infos, strict=True)
        )

    def arrived(self, message: Message) -> None:
        pass

    def close(self) -> None:
        self._lent.clear()
        if self._arena is not None:
            self._arenas.close(self._arena)
            self._arena = None


@define(eq=False)
class WorkerEnd(_BrokerEnd):
    """The broker's end of a connection to a worker."""

    _proven: bool = field(default=False, init=False)

    def heard(self, said: Buffer) -> bytes:
        self._check_proof(said)
        self._proven = True
        return b""

    def refer(self, message: Message, payloads: Sequence[Payload]) -> bytes | None:
        if not self._proven or not isinstance(message, Assign):
            return None
        found = [place_of(payload) for payload in payloads]
        places = [place for place in found if place is not None]
        if len(places) != len(found):
            return None
        references: list[Reference] = []
        rest = iter(places)
        for assignment in message.assignments:
            mine = [next(rest).reference for _ in assignment.task.inputs]
            if mine:
                room = self._arenas.grant(assignment, mine[0])
                references += [reference._replace(room=room) for reference in mine]
        return packed(references)

    def resolve(
        self, message: Message, references: Buffer, infos: Sequence[PayloadInfo]
    ) -> tuple[Buffer, ...] | None:
        if not self._proven or not isinstance(message, AttemptSucceeded):
            raise WireError(f"a {type(message).__name__} with payloads in no arena")
        return self._arenas.results(message, unpacked(references, len(infos)))

    def arrived(self, message: Message) -> None:
        self._arenas.ended(message)

    def close(self) -> None:
        self._proven = False
