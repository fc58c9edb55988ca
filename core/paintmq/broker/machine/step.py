"""The output of the broker's machine for one input: records and messages, in order."""

from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec
from attrs import define, field

from paintmq.broker.accounting.happening import Happening, Note
from paintmq.broker.machine import transitions
from paintmq.broker.machine.tasks import NO_TIMERS, TaskEntry, TaskTable
from paintmq.broker.machine.transitions import Event, TimerKind
from paintmq.broker.records import Record, TaskAccepted, TaskChanged, TaskPurged
from paintmq.deadlines import Deadlines
from paintmq.task import PeerId, TaskId, TaskState
from paintmq.task_status import TaskStatus
from paintmq.wire.messages import FromBroker


class Send(msgspec.Struct, frozen=True, gc=False):
    """The shell must send this message to this peer."""

    peer: PeerId
    message: FromBroker


class Step(msgspec.Struct, frozen=True, gc=False):
    """The output for one input. The records must be durable before the messages leave."""

    records: tuple[Record, ...] = ()
    sends: tuple[Send, ...] = ()


NOTHING = Step()
"""The output of most ticks."""

DeadlineKind: TypeAlias = Literal["task", "zombie", "peer"]
DeadlineKey: TypeAlias = tuple[DeadlineKind, str | PeerId, int]
"""Of a task there is one deadline, the first of its timers: see ``TaskEntry.timers``."""


@define
class StepBuilder:
    """Collects a step. Every change of a task's status goes through it, so none goes unrecorded."""

    tasks: TaskTable
    deadlines: Deadlines[DeadlineKey]
    at_work_on: TaskId | None = field(default=None, init=False)
    """The task that the step deals with: the one to end if handling the input raises."""
    observe: Callable[[Happening], None] = field(default=deque[Happening](maxlen=0).append)
    """Takes whatever happens, for those who count; must be quick."""
    records: list[Record] = field(factory=list[Record], init=False)
    """What was collected so far."""
    _sends: list[Send] = field(factory=list[Send], init=False)

    def take(self) -> Step:
        """Return what was collected since the last call."""
        if not self.records and not self._sends:
            return NOTHING
        step = Step(tuple(self.records), tuple(self._sends))
        self.records, self._sends = [], []
        return step

    def accept(self, entry: TaskEntry, timers: dict[TimerKind, float]) -> None:
        """Add a new task and record it."""
        transitions.check(TaskState.SUBMITTED, Event.ACCEPT, entry.status.state, timers)
        self.tasks.add(entry)
        self.records.append(TaskAccepted(entry.request, entry.status))
        self.observe((Event.ACCEPT, entry.request, entry.status, TaskState.SUBMITTED))
        self._replace_timers(entry, timers)

    def change(
        self,
        entry: TaskEntry,
        event: Event,
        status: TaskStatus,
        timers: dict[TimerKind, float],
    ) -> None:
        """Give the task a new status and these timers only, and record the status."""
        before = entry.status.state
        word = transitions.check(before, event, status.state, timers)
        self.tasks.change(entry, status)
        self.records.append(TaskChanged(entry.id, word, status))
        self.observe((event, entry.request, status, before))
        self._replace_timers(entry, timers)

    def move(self, entry: TaskEntry, status: TaskStatus, timers: dict[TimerKind, float]) -> None:
        """Give a waiting task a status with another queue, and record that."""
        before = entry.status
        word = transitions.check(before.state, Event.MOVE, status.state, timers)
        self.tasks.move(entry, status)
        self.records.append(TaskChanged(entry.id, word, status))
        self.observe(Note("moved", queue=before.queue, model=entry.request.model))
        self.observe((Event.MOVE, entry.request, status, before.state))
        self._replace_timers(entry, timers)

    def record(self, record: Record) -> None:
        """Record what is no transition of a task."""
        self.records.append(record)

    def purge(self, entry: TaskEntry) -> None:
        """Remove the task and record that."""
        transitions.check(entry.status.state, Event.PURGE, None, ())
        self.records.append(TaskPurged(entry.id))
        self.tasks.remove(entry)
        self._replace_timers(entry, NO_TIMERS)

    def set_timers(self, entry: TaskEntry, timers: dict[TimerKind, float]) -> None:
        """Replace the task's timers by these, given with the time at which each falls due."""
        self._replace_timers(entry, timers)

    def _replace_timers(self, entry: TaskEntry, timers: dict[TimerKind, float]) -> None:
        """Keep the timers with the task, and the first of them among the deadlines.

        So a task has one place in the heap for all of its life, whatever it waits for: most timers
        are met, and those that follow are later.
        """
        had, entry.timers = entry.timers, timers
        if timers:
            self.deadlines.set(("task", entry.id, 0), min(timers.values()))
        elif had:
            self.deadlines.discard(("task", entry.id, 0))

    def send(self, peer: PeerId, message: FromBroker) -> None:
        self._sends.append(Send(peer, message))

    def tell(self, entry: TaskEntry, message: FromBroker) -> None:
        """Send a message to every client that watches the task."""
        for client in entry.watchers:
            self.send(client, message)
