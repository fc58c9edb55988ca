"""A program that submits tasks through the real client machine, and remembers what it was told."""

import random
from collections.abc import Callable, Sequence

from attrs import define, field

from paintmq.client.commands import (
    AlarmRaised,
    CancelSettled,
    Command,
    Reconnect,
    Send,
    TaskAccepted,
    TaskEnded,
    TaskRefused,
    TaskUnknown,
)
from paintmq.client.machine import ClientMachine
from paintmq.task import PeerId, TaskId, TaskRequest
from paintmq.wire.messages import Accepted, Finished, FromClient, Heartbeat, Rejected, ToClient
from tests.harness.simulation.world import Agenda


@define
class Memory:
    """What one program was told, over all its lives: the journal the oracle reads."""

    submitted: dict[TaskId, TaskRequest] = field(factory=dict[TaskId, TaskRequest])
    accepted: dict[TaskId, None] = field(factory=dict[TaskId, None])
    refused: dict[TaskId, Rejected] = field(factory=dict[TaskId, Rejected])
    endings: dict[TaskId, list[Finished]] = field(factory=dict[TaskId, list[Finished]])
    cancelled: dict[TaskId, str] = field(factory=dict[TaskId, str])
    unknown: dict[TaskId, None] = field(factory=dict[TaskId, None])
    alarms: int = 0
    """How often an accepted task was unknown to the broker."""


@define
class SimulatedClient:
    """Dies and comes back, and then asks after what it had submitted."""

    name: str
    agenda: Agenda
    rng: random.Random
    transmit: Callable[["SimulatedClient", FromClient | Heartbeat], None]
    memory: Memory = field(factory=Memory)
    peer: PeerId = field(default=PeerId(b""))
    machine: ClientMachine | None = None
    connections: int = 0
    _tick_at: float | None = None
    _clock: int = 0
    """Seconds its clock is ahead: no two processes agree on the time. (Whole ones add exactly.)"""

    @property
    def now(self) -> float:
        return self.agenda.now + self._clock

    def start(self) -> None:
        self._clock = self.rng.randrange(1_000_000)
        self.machine = ClientMachine(self.rng, self.name)
        self._connect()
        for task_id, request in self.memory.submitted.items():
            if task_id in self.memory.endings or task_id in self.memory.refused:
                continue
            # Its journal holds the request too, so it can submit again under the same id. It is
            # patient, as the task may have been accepted before.
            self._obey(self.machine.submit(request, now=self.now, patient=True))

    def kill(self, back_after: float) -> None:
        self.machine, self._tick_at = None, None
        self.agenda.after(back_after, self.start)

    def submit(self, request: TaskRequest, *, patient: bool = False) -> None:
        """``patient``: a refusal for the moment only is waited out."""
        if self.machine is not None:
            self.memory.submitted[request.id] = request
            self._obey(self.machine.submit(request, now=self.now, patient=patient))

    def cancel(self, task_id: TaskId) -> None:
        if self.machine is not None:
            self._obey(self.machine.cancel(task_id, now=self.now))

    def receive(self, peer: PeerId, message: ToClient) -> None:
        if self.machine is not None and peer == self.peer:
            self._obey(self.machine.receive(message, now=self.now))

    def _connect(self) -> None:
        assert self.machine is not None
        self.connections += 1
        self.peer = PeerId(f"{self.name}/{self.connections}".encode())
        self._obey(self.machine.opened(now=self.now))

    def _obey(self, commands: Sequence[Command]) -> None:
        memory = self.memory
        for command in commands:
            match command:
                case Send(message):
                    self.transmit(self, message)
                case Reconnect():
                    self._connect()
                case TaskAccepted(Accepted(task_id=task_id)):
                    memory.accepted[task_id] = None
                case TaskEnded(message):
                    memory.endings.setdefault(message.task_id, []).append(message)
                case TaskRefused(message):
                    memory.refused[message.task_id] = message
                case CancelSettled(task_id, answer):
                    memory.cancelled[task_id] = answer
                case TaskUnknown(task_id):
                    memory.unknown[task_id] = None
                case AlarmRaised(reason):
                    # A lower sequence may just be an older message that came later here.
                    memory.alarms += "forgotten" in reason
                case _:
                    pass
        self._schedule_tick()

    def _schedule_tick(self) -> None:
        if self.machine is None:
            return
        deadline = self.machine.next_deadline()
        if deadline is None:
            return
        when = max(deadline - self._clock, self.agenda.now)
        if self._tick_at is None or when < self._tick_at:
            self._tick_at = when
            self.agenda.at(when, self._tick, self.machine, when)

    def _tick(self, machine: ClientMachine, when: float) -> None:
        if machine is self.machine and self._tick_at == when:
            self._tick_at = None
            self._obey(machine.tick(now=self.now))
