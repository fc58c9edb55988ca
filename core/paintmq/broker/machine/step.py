"""The output of the broker's machine for one input: records and messages, in order."""

from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias, get_args

from attrs import define, field, frozen

from paintmq.broker.machine import transitions
from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.machine.transitions import Event, TimerKind
from paintmq.broker.records import Record, TaskAccepted, TaskChanged, TaskPurged
from paintmq.deadlines import Deadlines
from paintmq.task import PeerId, TaskId, TaskState
from paintmq.task_status import TaskStatus
from paintmq.wire.messages import FromBroker


@frozen
class Send:
    """The shell must send this message to this peer."""

    peer: PeerId
    message: FromBroker


@frozen
class Step:
    """The output for one input. The records must be durable before the messages leave."""

    records: tuple[Record, ...] = ()
    sends: tuple[Send, ...] = ()


NOTHING = Step()
"""The output of most ticks."""

DeadlineKind: TypeAlias = TimerKind | Literal["zombie", "peer"]
DeadlineKey: TypeAlias = tuple[DeadlineKind, str | PeerId, int]
TIMER_KINDS: tuple[TimerKind, ...] = get_args(TimerKind)


@define
class StepBuilder:
    """Collects a step. Every change of a task's status goes through it, so none goes unrecorded."""

    tasks: TaskTable
    deadlines: Deadlines[DeadlineKey]
    at_work_on: TaskId | None = field(default=None, init=False)
    """The task that the step deals with: the one to end if handling the input raises."""
    _records: list[Record] = field(factory=list[Record], init=False)
    _sends: list[Send] = field(factory=list[Send], init=False)

    def take(self) -> Step:
        """Return what was collected since the last call."""
        if not self._records and not self._sends:
            return NOTHING
        step = Step(tuple(self._records), tuple(self._sends))
        self._records, self._sends = [], []
        return step

    @property
    def records_so_far(self) -> int:
        return len(self._records)

    def accept(self, entry: TaskEntry, timers: Mapping[TimerKind, float]) -> None:
        """Add a new task and record it."""
        transitions.check(TaskState.SUBMITTED, Event.ACCEPT, entry.status.state, timers)
        self.tasks.add(entry)
        self._records.append(TaskAccepted(entry.request, entry.status))
        self._replace_timers(entry.id, (), timers)

    def change(
        self,
        entry: TaskEntry,
        event: Event,
        status: TaskStatus,
        timers: Mapping[TimerKind, float],
    ) -> None:
        """Give the task a new status and these timers only, and record the status."""
        before = entry.status.state
        word = transitions.check(before, event, status.state, timers)
        self.tasks.change(entry, status)
        self._records.append(TaskChanged(entry.id, word, status))
        self._replace_timers(entry.id, transitions.POSSIBLE_TIMERS[before], timers)

    def purge(self, entry: TaskEntry) -> None:
        """Remove the task and record that."""
        transitions.check(entry.status.state, Event.PURGE, None, ())
        self._records.append(TaskPurged(entry.id))
        self.tasks.remove(entry)
        self._replace_timers(entry.id, transitions.POSSIBLE_TIMERS[entry.status.state], {})

    def timers_of(self, entry: TaskEntry) -> dict[TimerKind, float]:
        """Return the task's timers, with the time at which each falls due."""
        times = {kind: self.deadlines.get((kind, entry.id, 0)) for kind in TIMER_KINDS}
        return {kind: when for kind, when in times.items() if when is not None}

    def set_timers(self, entry: TaskEntry, timers: Mapping[TimerKind, float]) -> None:
        """Replace the task's timers by these, given with the time at which each falls due."""
        self._replace_timers(entry.id, TIMER_KINDS, timers)

    def _replace_timers(
        self, task_id: TaskId, possible: Collection[TimerKind], timers: Mapping[TimerKind, float]
    ) -> None:
        """Do the same where it is known which timers there may be."""
        for kind in TIMER_KINDS:
            if (when := timers.get(kind)) is not None:
                self.deadlines.set((kind, task_id, 0), when)
            elif kind in possible:
                self.deadlines.discard((kind, task_id, 0))

    def send(self, peer: PeerId, message: FromBroker) -> None:
        self._sends.append(Send(peer, message))

    def tell(self, entry: TaskEntry, message: FromBroker) -> None:
        """Send a message to every client that watches the task."""
        for client in entry.watchers:
            self.send(client, message)
