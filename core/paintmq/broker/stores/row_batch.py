"""What the records of one commit come to, as rows: several changes of a task are one.

A short task may be accepted, leased and ended within one commit. The log still gets a row for each
record; the tables of the present get only what is left in the end.
"""

from attrs import define, field, frozen

from paintmq.broker.records import (
    BrokerBooted,
    SettingsChanged,
    TaskAccepted,
    TaskChanged,
    TaskPurged,
    keeps_inputs,
)
from paintmq.broker.stores.rows import checksum, encode, encode_record, encode_task_record
from paintmq.broker.stores.store import Direction, Entry, PayloadKey
from paintmq.task import Buffer, TaskId
from paintmq.task_status import TaskStatus


@frozen
class NewPayload:
    """A payload about to become a row."""

    key: PayloadKey
    size: int
    digest: str
    """Of the data; without data, the name of its file."""
    data: Buffer | None


@define
class RowBatch:
    """The rows to be written for some entries, and those to be deleted before."""

    log: list[tuple[int, float, bytes, bytes]] = field(factory=list, init=False)
    """Rows of ``log``."""
    purged: dict[TaskId, None] = field(factory=dict[TaskId, None], init=False)
    """Tasks whose row goes."""
    forgotten: dict[tuple[Direction, TaskId], None] = field(
        factory=dict[tuple[Direction, TaskId], None], init=False
    )
    """Tasks whose stored inputs or outputs go."""
    freed: list[str] = field(factory=list[str], init=False)
    """Files of payloads that came and went within the batch."""
    changes: bytes | None = field(default=None, init=False)
    """What operators have changed in settings, if that is new."""
    last_sequence: int = field(default=0, init=False)
    _accepted: dict[TaskId, tuple[int, bytes]] = field(
        factory=dict[TaskId, tuple[int, bytes]], init=False
    )
    _standing: dict[TaskId, tuple[int, bytes]] = field(
        factory=dict[TaskId, tuple[int, bytes]], init=False
    )
    _payloads: dict[tuple[Direction, TaskId], dict[str, NewPayload]] = field(
        factory=dict[tuple[Direction, TaskId], dict[str, NewPayload]], init=False
    )

    def add(self, entry: Entry, payloads: list[NewPayload]) -> None:
        """Take in the next record, and the payloads that are stored with it."""
        sequence, record = entry.sequence, entry.record
        match record:
            case TaskAccepted(request, status):
                wanted, stands = encode(request), encode(status)
                self._accepted[request.id] = sequence, wanted
                self._standing[request.id] = sequence, stands
                data = encode_task_record(record, wanted, stands)
            case TaskChanged(task_id, _, status):
                stands = self._change(sequence, task_id, status)
                data = encode_task_record(record, b"", stands)
            case TaskPurged(task_id):
                self._purge(task_id)
                data = encode_record(record)
            case SettingsChanged(changes):
                self.changes = changes.encode()
                data = encode_record(record)
            case BrokerBooted():
                data = encode_record(record)
        check = checksum(str(sequence).encode(), repr(entry.at).encode(), data)
        self.log.append((sequence, entry.at, data, check))
        self.last_sequence = sequence
        for new in payloads:
            place = new.key.direction, new.key.task_id
            self._payloads.setdefault(place, {})[new.key.name] = new

    def _change(self, sequence: int, task_id: TaskId, status: TaskStatus) -> bytes:
        stands = encode(status)
        self._standing[task_id] = sequence, stands
        if not keeps_inputs(status.state):
            self._forget("in", task_id)
        return stands

    def _purge(self, task_id: TaskId) -> None:
        self._forget("in", task_id)
        self._forget("out", task_id)
        self._standing.pop(task_id, None)
        if self._accepted.pop(task_id, None) is None:
            self.purged[task_id] = None

    def _forget(self, direction: Direction, task_id: TaskId) -> None:
        """Forget the payloads of a task, new and stored ones."""
        for new in self._payloads.pop((direction, task_id), {}).values():
            if new.data is None:
                self.freed.append(new.digest)
        if task_id not in self._accepted:
            self.forgotten[direction, task_id] = None

    def new_tasks(self) -> list[tuple[TaskId, int, bytes, bytes, int, bytes, bytes]]:
        """Return the rows of ``task`` to insert."""
        rows = []
        for task_id, (accepted, wanted) in self._accepted.items():
            key = task_id.encode()
            sequence, stands = self._standing[task_id]
            check = checksum(key, stands, str(sequence).encode())
            rows.append((task_id, accepted, wanted, checksum(key, wanted), sequence, stands, check))
        return rows

    def changed_tasks(self) -> list[tuple[int, bytes, bytes, str]]:
        """Return sequence, status, its checksum and the id of the tasks to update."""
        return [
            (sequence, stands, checksum(task_id.encode(), stands, str(sequence).encode()), task_id)
            for task_id, (sequence, stands) in self._standing.items()
            if task_id not in self._accepted
        ]

    def new_payloads(self) -> list[tuple[str, str, str, int, str, Buffer | None, bytes]]:
        """Return the rows of ``payload`` to insert."""
        return [
            (
                new.key.task_id,
                new.key.direction,
                new.key.name,
                new.size,
                new.digest,
                new.data,
                payload_check(new.key, new.size, new.digest, inline=new.data is not None),
            )
            for payloads in self._payloads.values()
            for new in payloads.values()
        ]


def payload_check(key: PayloadKey, size: int, digest: str, *, inline: bool) -> bytes:
    """Return the checksum of a payload's row; the data itself is covered by its digest."""
    names = (key.task_id, key.direction, key.name, str(size), digest, str(inline))
    return checksum(*[name.encode() for name in names])
