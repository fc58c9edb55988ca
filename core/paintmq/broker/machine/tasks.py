"""Every task the broker knows, with the sums and indices that must always agree with them.

Rule 1: no frequent operation iterates over all tasks: a broker may hold hundreds of thousands.
"""

from collections.abc import Iterable, Iterator

from attrs import define, field

from paintmq.broker.machine.credentials import Credentials
from paintmq.broker.machine.queues import QueueCounts
from paintmq.broker.machine.transitions import LEASED, TimerKind
from paintmq.broker.records import StoredTask
from paintmq.broker.scheduling.backlog import Waiting
from paintmq.plugin.catalog import CheckedTask
from paintmq.task import FINAL_STATES, PeerId, TaskId, TaskRequest, TaskState
from paintmq.task_status import TaskStatus

NO_TIMERS: dict[TimerKind, float] = {}
"""Of most tasks that wait, all of which share it."""


@define(weakref_slot=False)
class TaskEntry:
    """One task: its request, its status, and the clients that watch it."""

    request: TaskRequest
    status: TaskStatus
    checked: CheckedTask | None
    """None if the task came from the journal and its model is no longer installed."""
    session: PeerId | None = None
    """The worker connection that holds its lease."""
    delivered: bool = False
    """The worker has shown that it has the current attempt."""
    watchers: tuple[PeerId, ...] = ()
    """Clients to be told, in the order they asked; replaced only by ``TaskTable``."""
    confirmed: tuple[PeerId, ...] = ()
    """Clients of its owner that have said that they have the result."""
    timers: dict[TimerKind, float] = field(default=NO_TIMERS, init=False)
    """When each falls due; replaced by ``StepBuilder`` alone, never changed."""
    id: TaskId = field(init=False)
    input_bytes: int = field(init=False)
    step: int = field(default=0, init=False)
    total: int = field(default=0, init=False)
    """How far the present attempt says it is: ``step`` of ``total``; 0 of 0 if it says nothing."""

    def __attrs_post_init__(self) -> None:
        # Kept here, as every step of a task asks for them several times.
        self.id, self.input_bytes = self.request.id, self.request.input_bytes

    @property
    def owner(self) -> str:
        return self.status.owner

    @property
    def expires_at(self) -> float | None:
        if self.request.expires_in is None:
            return None
        return self.status.accepted_at + self.request.expires_in

    def waiting(self) -> Waiting:
        """Return the scheduler's view of the task."""
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


@define
class TaskTable:
    """Tasks by id, with counts per queue, the bytes they hold, and their watchers."""

    _entries: dict[TaskId, TaskEntry] = field(factory=dict[TaskId, TaskEntry], init=False)
    counts: dict[str, QueueCounts] = field(factory=dict[str, QueueCounts], init=False)
    unfinished: int = field(default=0, init=False)
    input_bytes: int = field(default=0, init=False)
    """Bytes of the inputs of unfinished tasks."""
    output_bytes: int = field(default=0, init=False)
    """Bytes of results that no client has confirmed."""
    _unfinished_of: dict[str, int] = field(factory=dict[str, int], init=False)
    """Unfinished tasks by owner."""
    _by_state: dict[TaskState, dict[TaskId, TaskEntry]] = field(init=False)
    _watched: dict[PeerId, dict[TaskId, TaskEntry]] = field(
        factory=dict[PeerId, dict[TaskId, TaskEntry]], init=False
    )
    _alone: dict[PeerId, tuple[PeerId, ...]] = field(
        factory=dict[PeerId, tuple[PeerId, ...]], init=False
    )
    """By client: itself as the only watcher."""

    @_by_state.default
    def _no_tasks(self) -> dict[TaskState, dict[TaskId, TaskEntry]]:
        return {state: {} for state in TaskState}

    @classmethod
    def for_queues(cls, names: Iterable[str]) -> "TaskTable":
        table = cls()
        table.counts = {name: QueueCounts() for name in names}
        return table

    def get(self, task_id: TaskId) -> TaskEntry | None:
        return self._entries.get(task_id)

    def seen_by(self, credentials: Credentials, task_id: TaskId) -> TaskEntry | None:
        """Return the task, if there is one and these credentials may learn of it."""
        entry = self._entries.get(task_id)
        return entry if entry is not None and credentials.sees(entry.owner) else None

    def unfinished_of(self, owner: str) -> int:
        return self._unfinished_of.get(owner, 0)

    def add(self, entry: TaskEntry) -> None:
        """Add a task that was accepted now or found in the journal."""
        self._entries[entry.id] = entry
        counts = self._counts(entry.status.queue)
        counts.accepted += 1
        if entry.status.state.is_final:
            counts.ended[entry.status.state] += 1
        self._count(entry, +1)

    def change(self, entry: TaskEntry, status: TaskStatus) -> None:
        """Give the task a new status; its queue and its time of acceptance stay.

        Only what differs is counted: a task changes three times on its way, and most sums do not.
        """
        was, entry.status = entry.status, status
        before, after = was.state, status.state
        was_final, is_final = before in FINAL_STATES, after in FINAL_STATES
        if was.owner != status.owner and not was_final:
            self._count_owned(was.owner, -1)
            self._count_owned(status.owner, +1)
        if before is not after:
            counts = self._counts(status.queue)
            counts.by_state[before] -= 1
            counts.by_state[after] += 1
            del self._by_state[before][entry.id]
            self._by_state[after][entry.id] = entry
            if before is TaskState.QUEUED:
                self._count_waiting(entry, counts, -1)
            elif after is TaskState.QUEUED:
                self._count_waiting(entry, counts, +1)
            if is_final and not was_final:
                counts.ended[after] += 1
                self._count_unfinished(entry, -1)
            elif was_final and not is_final:
                counts.ended[before] -= 1
                self._count_unfinished(entry, +1)
        if was_final and was.outputs:
            self.output_bytes -= _unconfirmed_bytes(was)
        if is_final and status.outputs:
            self.output_bytes += _unconfirmed_bytes(status)

    def move(self, entry: TaskEntry, status: TaskStatus) -> None:
        """Give the task a status with another queue, where it counts as accepted from now on."""
        self._count(entry, -1)
        self._counts(entry.status.queue).accepted -= 1
        entry.status = status
        self._counts(status.queue).accepted += 1
        self._count(entry, +1)

    def know_queue(self, name: str) -> None:
        """Have counters of a queue, also before the first task comes."""
        self._counts(name)

    def remove(self, entry: TaskEntry) -> None:
        self._count(entry, -1)
        del self._entries[entry.id]
        for client in entry.watchers:
            del self._watched[client][entry.id]

    def watch(self, entry: TaskEntry, client: PeerId) -> None:
        """Have a client told about the task from now on."""
        if client not in entry.watchers:
            watched = self._watched.get(client)
            if watched is None:
                watched, self._alone[client] = {}, (client,)
                self._watched[client] = watched
            # All tasks that one client alone watches share a tuple: there may be a million.
            entry.watchers = (*entry.watchers, client) if entry.watchers else self._alone[client]
            watched[entry.id] = entry

    def unwatch(self, client: PeerId) -> list[TaskEntry]:
        """Stop telling the client anything; return the tasks that it watched."""
        entries = list(self._watched.pop(client, {}).values())
        self._alone.pop(client, None)
        for entry in entries:
            entry.watchers = tuple([other for other in entry.watchers if other != client])
        return entries

    def in_state(self, state: TaskState) -> list[TaskEntry]:
        """Return the tasks in a state, in the order they entered it."""
        return list(self._by_state[state].values())

    def leased(self) -> list[TaskEntry]:
        """Return the tasks that a worker holds a lease of."""
        return [entry for state in LEASED for entry in self._by_state[state].values()]

    @property
    def any_leased(self) -> bool:
        tasks = self._by_state
        return bool(tasks[TaskState.LEASED] or tasks[TaskState.RUNNING] or tasks[TaskState.LOADING])

    def oldest_arrival(self, queue: str) -> float | None:
        """Return when the longest-waiting task of a queue was accepted; None if none waits."""
        counts = self.counts.get(queue)
        return None if counts is None else counts.oldest_arrival()

    def stored(self) -> dict[TaskId, StoredTask]:
        """Return what the journal must hold, which is what a restart would find."""
        return {e.id: StoredTask(e.request, e.status) for e in self._entries.values()}

    def check_invariants(self) -> None:
        """Raise AssertionError if a sum disagrees with a recount."""
        again = TaskTable.for_queues(self.counts)
        for entry in self._entries.values():
            again._entries[entry.id] = entry
            again._count(entry, +1)
            watched = all(self._watched[client][entry.id] is entry for client in entry.watchers)
            assert watched, f"{entry.id} is watched, but not listed as such"
        for state, entries in again._by_state.items():
            assert self._by_state[state].keys() == entries.keys(), f"{state} tasks are misplaced"
        listed = sum(len(entries) for entries in self._watched.values())
        assert listed == sum(len(entry.watchers) for entry in self), (
            "purged tasks are still watched"
        )
        assert self.unfinished == again.unfinished, "unfinished tasks miscounted"
        assert self._unfinished_of == again._unfinished_of, "tasks of an owner miscounted"
        assert self.input_bytes == again.input_bytes, "input bytes miscounted"
        assert self.output_bytes == again.output_bytes, "output bytes miscounted"
        for name, counts in self.counts.items():
            recount = again.counts[name]
            assert counts.by_state == recount.by_state, f"{name} miscounted"
            assert counts.bytes_waiting == recount.bytes_waiting, f"{name}: bytes miscounted"
            alive = sum(n for state, n in counts.by_state.items() if not state.is_final)
            assert counts.accepted == alive + sum(counts.ended.values()), f"{name} does not add up"
            assert self.oldest_arrival(name) == again.oldest_arrival(name), f"{name}: oldest wait"

    def __iter__(self) -> Iterator[TaskEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def _counts(self, queue: str) -> QueueCounts:
        # A queue that was removed from the configuration may still hold tasks from the journal.
        counts = self.counts.get(queue)
        if counts is None:
            counts = self.counts[queue] = QueueCounts()
        return counts

    def _count(self, entry: TaskEntry, sign: int) -> None:
        status = entry.status
        counts = self._counts(status.queue)
        counts.by_state[status.state] += sign
        if sign > 0:
            self._by_state[status.state][entry.id] = entry
        else:
            del self._by_state[status.state][entry.id]
        if status.state is TaskState.QUEUED:
            self._count_waiting(entry, counts, sign)
        if status.state not in FINAL_STATES:
            self._count_unfinished(entry, sign)
        self.output_bytes += sign * _unconfirmed_bytes(status)

    def _count_waiting(self, entry: TaskEntry, counts: QueueCounts, sign: int) -> None:
        counts.bytes_waiting += sign * entry.input_bytes
        if sign > 0:
            counts.arrived(entry.id, entry.status.accepted_at)
        else:
            counts.left(entry.id)

    def _count_unfinished(self, entry: TaskEntry, sign: int) -> None:
        self.unfinished += sign
        self._count_owned(entry.status.owner, sign)
        self.input_bytes += sign * entry.input_bytes

    def _count_owned(self, owner: str, sign: int) -> None:
        left = self._unfinished_of.get(owner, 0) + sign
        if left:
            self._unfinished_of[owner] = left
        else:
            del self._unfinished_of[owner]


def _unconfirmed_bytes(status: TaskStatus) -> int:
    """Return the bytes of a result that no client has confirmed."""
    if not status.outputs or status.acknowledged_at is not None:
        return 0
    return sum(output.size for output in status.outputs) if status.state in FINAL_STATES else 0
