"""The output of the broker's machine for one input: records and messages, in order."""

from typing import Literal, TypeAlias

from attrs import define, field, frozen

from paintmq.broker.machine.tasks import TaskEntry, TaskTable
from paintmq.broker.records import Record, TaskChanged
from paintmq.task import PeerId, TaskStatus
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

DeadlineKind: TypeAlias = Literal["expire", "lease", "run", "purge", "zombie", "peer"]
DeadlineKey: TypeAlias = tuple[DeadlineKind, str | PeerId, int]


@define
class StepBuilder:
    """Collects a step. Every change of a task's status goes through it, so none goes unrecorded."""

    tasks: TaskTable
    _records: list[Record] = field(factory=list[Record], init=False)
    _sends: list[Send] = field(factory=list[Send], init=False)

    def take(self) -> Step:
        """Return what was collected since the last call."""
        if not self._records and not self._sends:
            return NOTHING
        step = Step(tuple(self._records), tuple(self._sends))
        self._records, self._sends = [], []
        return step

    def record(self, record: Record) -> None:
        self._records.append(record)

    def change(self, entry: TaskEntry, event: str, status: TaskStatus) -> None:
        self.tasks.change(entry, status)
        self.record(TaskChanged(entry.id, event, status))

    def send(self, peer: PeerId, message: FromBroker) -> None:
        self._sends.append(Send(peer, message))

    def tell(self, entry: TaskEntry, message: FromBroker) -> None:
        """Send a message to every client that watches the task."""
        for client in entry.watchers:
            self.send(client, message)
