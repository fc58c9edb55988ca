"""Every task the broker knows, and the sums that must always agree with them."""

from collections.abc import Iterable, Iterator

from attrs import define, field

from paintmq.broker.backlog import Waiting
from paintmq.broker.queues import QueueCounts
from paintmq.broker.records import StoredTask
from paintmq.catalog import CheckedTask
from paintmq.task import PeerId, TaskId, TaskRequest, TaskState, TaskStatus


@define
class TaskEntry:
    """One task: what was asked, where it stands, and who wants to know."""

    request: TaskRequest
    status: TaskStatus
    checked: CheckedTask | None
    """None for a task from the journal whose model is no longer installed."""
    session: PeerId | None = None
    """The worker connection that holds its lease."""
    delivered: bool = False
    """The worker has shown that it has the current attempt."""
    watchers: list[PeerId] = field(factory=list[PeerId])
    """Clients to be told; in the order they asked."""

    @property
    def id(self) -> TaskId:
        return self.request.id

    @property
    def expires_at(self) -> float | None:
        if self.request.expires_in is None:
            return None
        return self.status.accepted_at + self.request.expires_in

    def waiting(self) -> Waiting:
        """Return what the scheduler needs to know of the task."""
        assert self.checked is not None
        return Waiting(
            request=self.request,
            checked=self.checked,
            queue=self.status.queue,
            rank=self.status.rank,
            not_before=self.status.not_before,
            suspect=self.status.suspect,
            excluded=self.status.excluded,
        )

    def watch(self, client: PeerId) -> None:
        if client not in self.watchers:
            self.watchers.append(client)


@define
class TaskTable:
    """Tasks by id, with counts by queue and the bytes they hold."""

    _entries: dict[TaskId, TaskEntry] = field(factory=dict[TaskId, TaskEntry], init=False)
    counts: dict[str, QueueCounts] = field(factory=dict[str, QueueCounts], init=False)
    unfinished: int = field(default=0, init=False)
    input_bytes: int = field(default=0, init=False)
    """Inputs of unfinished tasks."""
    output_bytes: int = field(default=0, init=False)
    """Results that no client has confirmed."""

    @classmethod
    def for_queues(cls, names: Iterable[str]) -> "TaskTable":
        table = cls()
        table.counts = {name: QueueCounts() for name in names}
        return table

    def get(self, task_id: TaskId) -> TaskEntry | None:
        return self._entries.get(task_id)

    def add(self, entry: TaskEntry) -> None:
        """Take in a new task, accepted now or found in the journal."""
        self._entries[entry.id] = entry
        counts = self._counts(entry.status.queue)
        counts.accepted += 1
        if entry.status.state.is_final:
            counts.ended[entry.status.state] += 1
        self._count(entry, +1)

    def change(self, entry: TaskEntry, status: TaskStatus) -> None:
        """Give the task a new status."""
        self._count(entry, -1)
        before = entry.status.state
        entry.status = status
        self._count(entry, +1)
        if status.state.is_final and not before.is_final:
            self._counts(status.queue).ended[status.state] += 1
        elif before.is_final and not status.state.is_final:
            self._counts(status.queue).ended[before] -= 1

    def remove(self, entry: TaskEntry) -> None:
        self._count(entry, -1)
        del self._entries[entry.id]

    def stored(self) -> dict[TaskId, StoredTask]:
        """Return what the journal must hold: the state that a restart would find."""
        return {e.id: StoredTask(e.request, e.status) for e in self._entries.values()}

    def check_invariants(self) -> None:
        """Raise AssertionError if a sum disagrees with a recount."""
        again = TaskTable.for_queues(self.counts)
        for entry in self._entries.values():
            again._entries[entry.id] = entry
            again._count(entry, +1)
        assert self.unfinished == again.unfinished, "unfinished tasks miscounted"
        assert self.input_bytes == again.input_bytes, "input bytes miscounted"
        assert self.output_bytes == again.output_bytes, "output bytes miscounted"
        for name, counts in self.counts.items():
            recount = again.counts[name]
            assert counts.by_state == recount.by_state, f"{name} miscounted"
            assert counts.bytes_waiting == recount.bytes_waiting, f"{name}: bytes miscounted"
            alive = sum(n for state, n in counts.by_state.items() if not state.is_final)
            assert counts.accepted == alive + sum(counts.ended.values()), f"{name} does not add up"

    def __iter__(self) -> Iterator[TaskEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def _counts(self, queue: str) -> QueueCounts:
        # A queue that is gone from the configuration may still hold tasks from the journal.
        if queue not in self.counts:
            self.counts[queue] = QueueCounts()
        return self.counts[queue]

    def _count(self, entry: TaskEntry, sign: int) -> None:
        status = entry.status
        counts = self._counts(status.queue)
        counts.by_state[status.state] += sign
        if status.state is TaskState.QUEUED:
            counts.bytes_waiting += sign * entry.request.input_bytes
        if not status.state.is_final:
            self.unfinished += sign
            self.input_bytes += sign * entry.request.input_bytes
        elif status.acknowledged_at is None:
            self.output_bytes += sign * sum(output.size for output in status.outputs)
