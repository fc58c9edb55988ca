"""The arenas of clients as a worker uses them: its agent passes references on, its host reads."""

from collections.abc import Sequence

from attrs import define, field

from paintmq.errors import WireError
from paintmq.shared_memory.memory_file import MemoryFile, open_file
from paintmq.shared_memory.ranges import place_of, view_of, view_or_copy
from paintmq.shared_memory.reference import (
    HEADER_BYTES,
    NO_ROOM,
    Reference,
    Whereabouts,
    header,
    packed,
    place_bytes,
    unpacked,
)
from paintmq.shared_memory.said import PROVE, kind_of, say_proof, where_said
from paintmq.task import Buffer, PayloadInfo
from paintmq.wire.messages import Assign, AttemptSucceeded, Message
from paintmq.wire.sharing import PayloadSharing
from paintmq.wire.transfer import Payload

MOST_FILES = 64
"""Arenas kept open; one that is used again is opened again."""


@define(eq=False)
class OpenArenas:
    """Arenas that were opened, by name."""

    _files: dict[bytes, MemoryFile] = field(factory=dict[bytes, MemoryFile], init=False)

    def at(self, where: Whereabouts) -> MemoryFile | None:
        """Return the arena there; None if it cannot be reached from here."""
        file = self._files.pop(where.arena, None) or open_file(where)
        if file is not None:
            self._files[where.arena] = file
            if len(self._files) > MOST_FILES:
                del self._files[next(iter(self._files))]
        return file

    def views(
        self, references: Sequence[Reference], infos: Sequence[PayloadInfo]
    ) -> tuple[Buffer, ...]:
        """Return the payloads at these places, mapped privately: see ``Place``.

        A process that is handed these views on opens the arenas from here: we live as long as it.

        Raises:
            WireError: an arena cannot be reached.
        """
        payloads = []
        for reference, info in zip(references, infos, strict=True):
            file = self.at(reference.where)
            if file is None:
                raise WireError("a payload lies in an arena that cannot be opened from here")
            here = reference._replace(where=file.where)
            payloads.append(view_or_copy(file, here, info.size, private=True))
        return tuple(payloads)


@define(eq=False)
class WorkerArenas(PayloadSharing):
    """An agent's end of one connection to its broker."""

    _enabled: bool = True
    _arenas: OpenArenas = field(factory=OpenArenas, init=False)
    _known: set[bytes] = field(factory=set[bytes], init=False)
    """Arenas the broker has named on this connection."""

    def heard(self, said: Buffer) -> bytes:
        if kind_of(said) != PROVE:
            raise WireError("a broker says of shared memory what is not for workers")
        file = open_file(where_said(said)) if self._enabled else None
        return b"" if file is None else say_proof(file.secret)

    def refer(self, message: Message, payloads: Sequence[Payload]) -> bytes | None:
        if not isinstance(message, AttemptSucceeded):
            return None
        places = [place_of(payload) for payload in payloads]
        known = [place for place in places if place and place.file.arena in self._known]
        if len(known) != len(payloads):
            return None
        return packed([place.reference for place in known])

    def resolve(
        self, message: Message, references: Buffer, infos: Sequence[PayloadInfo]
    ) -> tuple[Buffer, ...] | None:
        if not isinstance(message, Assign):
            raise WireError(f"a {type(message).__name__} with payloads in an arena")
        found = unpacked(references, len(infos))
        self._known.update(reference.where.arena for reference in found)
        return self._arenas.views(found, infos)

    def arrived(self, message: Message) -> None:
        pass


def put_into_room(inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> list[Buffer] | None:
    """Copy a task's outputs into the room that was granted with its inputs.

    Returns:
        The outputs there; None if there is no room, or too little.
    """
    place = place_of(inputs[0]) if inputs else None
    room = place.reference.room if place is not None else NO_ROOM
    views = [memoryview(output).cast("B") for output in outputs]
    if place is None or sum(place_bytes(view.nbytes) for view in views) > room.bytes:
        return None
    file = place.file
    try:
        whole = file.whole()
    except (OSError, ValueError):  # no addresses are left for it
        return None
    offset, placed = room.offset, list[Buffer]()
    for view in views:
        begin = offset + HEADER_BYTES
        whole[offset:begin] = header(room.fence, view.nbytes).ljust(HEADER_BYTES, b"\0")
        whole[begin : begin + view.nbytes] = view
        try:
            placed.append(view_of(file, Reference(file.where, offset, room.fence), view.nbytes))
        except WireError:  # this process can map no more
            return None
        offset += place_bytes(view.nbytes)
    return placed
