"""Payloads of tasks in memory. The machine never sees them; the shell adds them to its messages."""

from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from attrs import define, field

from paintmq.broker.records import Record, TaskAccepted, TaskChanged, TaskPurged
from paintmq.broker.stores import PayloadKey
from paintmq.broker.stores.store import Direction
from paintmq.shared_memory.ranges import place_of
from paintmq.task import FINAL_STATES, PayloadInfo, TaskId, TaskState
from paintmq.units import MIB
from paintmq.wire.messages import Assign, AttemptSucceeded, Finished, FromBroker, Submit, ToBroker
from paintmq.wire.transfer import Payload, joined, size_of

_key = tuple.__new__  # as PayloadKey(...) does, by a call less: there are six for each task
CACHE_BYTES = 256 * MIB
"""Durable payloads kept in memory as well, so that most are never read back from disk."""


class _Held(msgspec.Struct, gc=False):
    direction: Direction
    name: str
    data: Payload
    sequence: int
    """The record it is stored with; it must stay in memory until that is durable."""

    @property
    def size(self) -> int:
        data = self.data
        return len(data) if type(data) is bytes else size_of(data)


@define
class PayloadCache:
    """Payloads in memory: all of them, or those not yet durable and some that were used lately.

    They are listed by task alone, few as those of one task are: there may be a million tasks, and
    an entry of its own for each payload took more memory than the request it belongs to.
    """

    _all: bool
    """The store keeps no payloads, so all of them must stay here."""
    _cache_bytes: int = CACHE_BYTES
    _held: dict[TaskId, tuple[_Held, ...]] = field(
        factory=dict[TaskId, tuple[_Held, ...]], init=False
    )
    """Unless all are kept, the tasks whose payloads were used last come last."""
    _bytes: int = field(default=0, init=False)
    _unwritten: deque[tuple[int, int]] = field(factory=deque[tuple[int, int]], init=False)
    unwritten_bytes: int = field(default=0, init=False)
    """Bytes of payloads whose records are not durable yet."""

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    @property
    def bytes(self) -> int:
        return self._bytes

    def get(self, key: PayloadKey) -> Payload | None:
        """Return a payload if it is in memory."""
        task_id, direction, name = key
        for held in self._held.get(task_id, ()):
            if held.name == name and held.direction == direction:
                if not self._all:
                    self._held[task_id] = self._held.pop(task_id)
                return held.data
        return None

    def put(self, key: PayloadKey, data: Payload, *, sequence: int = 0) -> None:
        """Keep a payload, at least until that record is durable."""
        task_id, direction, name = key
        if task_id in self._held:
            self._keep(task_id, lambda held: (held.direction, held.name) != (direction, name))
        held = _Held(direction, name, data, 0 if self._all else sequence)
        size = held.size
        if sequence:
            self._unwritten.append((sequence, size))
            self.unwritten_bytes += size
        self._held[task_id] = (*self._held.get(task_id, ()), held)
        self._bytes += size

    def follow(self, records: Sequence[Record]) -> None:
        """Drop the payloads that can no longer be asked for after these records."""
        for record in records:
            if isinstance(record, TaskChanged):
                state = record.status.state
                if state not in FINAL_STATES:
                    continue
                if state is not TaskState.DEAD:  # see ``keeps_inputs``
                    self._forget(record.task_id, "in")
                else:
                    self._move_out(record.task_id)
            elif isinstance(record, TaskPurged):
                self._forget(record.task_id, "in")
                self._forget(record.task_id, "out")

    def evict(self, durable: int) -> None:
        """Keep memory within its bound where the store has a copy, the longest unused first."""
        while self._unwritten and self._unwritten[0][0] <= durable:
            self.unwritten_bytes -= self._unwritten.popleft()[1]
        if self._all or self._bytes <= self._cache_bytes:
            return
        for task_id in list(self._held):
            if self._bytes <= self._cache_bytes:
                return
            self._keep(task_id, lambda held: held.sequence > durable)

    def _move_out(self, task_id: TaskId) -> None:
        """Copy inputs out of memory that is shared with their client, which will now reuse it."""
        for held in self._held.get(task_id, ()):
            if held.direction == "in" and place_of(held.data) is not None:
                held.data = bytes(joined(held.data))

    def _forget(self, task_id: TaskId, direction: Direction) -> None:
        self._keep(task_id, lambda held: held.direction != direction)

    def _keep(self, task_id: TaskId, wanted: Callable[[_Held], bool]) -> None:
        """Forget the other payloads of a task."""
        kept = []
        for held in self._held.get(task_id, ()):
            if wanted(held):
                kept.append(held)
            else:
                self._bytes -= held.size
        if kept:
            self._held[task_id] = tuple(kept)
        else:
            self._held.pop(task_id, None)


def payloads_kept(
    message: ToBroker, delivered: Sequence[Payload], records: Sequence[Record]
) -> dict[int, list[tuple[PayloadKey, Payload]]]:
    """Return which of the delivered payloads must be stored, by the place of their record.

    A duplicate submission or a stale answer causes no record, so nothing of it is kept.
    """
    if isinstance(message, Submit):
        task = message.task
        for place, record in enumerate(records):
            if isinstance(record, TaskAccepted) and record.request.id == task.id:
                return {place: _keyed(task.id, "in", task.inputs, delivered)}
    elif isinstance(message, AttemptSucceeded):
        task_id, fence = message.task_id, message.fence
        for place, record in enumerate(records):
            if (
                isinstance(record, TaskChanged)
                and record.task_id == task_id
                and record.status.state is TaskState.SUCCEEDED
                and record.status.has_fence(fence)
            ):
                return {place: _keyed(task_id, "out", message.outputs, delivered)}
    return {}


def payload_keys(message: FromBroker) -> list[PayloadKey]:
    """Return the stored payloads that follow a message, in order."""
    match message:
        case Assign(assignments):
            return [
                _key(PayloadKey, (item.task.id, "in", info.name))
                for item in assignments
                for info in item.task.inputs
            ]
        case Finished(task_id=task_id, outputs=outputs):
            return [_key(PayloadKey, (task_id, "out", info.name)) for info in outputs]
        case _:
            return []


def _keyed(
    task_id: TaskId,
    direction: Direction,
    infos: Sequence[PayloadInfo],
    delivered: Sequence[Payload],
) -> list[tuple[PayloadKey, Payload]]:
    return [
        (_key(PayloadKey, (task_id, direction, info.name)), data)
        for info, data in zip(infos, delivered, strict=True)
    ]
