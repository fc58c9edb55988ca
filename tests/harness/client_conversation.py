"""A client's machine and what is said to it and by it, without a socket or a clock."""

import random

from paintmq.client.commands import (
    Command,
    Reconnect,
    Send,
)
from paintmq.client.machine import ClientMachine
from paintmq.task import Json, PayloadInfo, TaskId, TaskRequest, TaskState
from paintmq.wire.messages import (
    Accepted,
    Ask,
    BrokerHeartbeat,
    Finished,
    FromClient,
    Heartbeat,
    ToClient,
    Welcome,
)

T1 = TaskId("1" * 32)
T2 = TaskId("2" * 32)


def request(task_id: TaskId = T1, *, size: int = 0) -> TaskRequest:
    inputs = (PayloadInfo(name="image", size=size, digest="", kind="file"),) if size else ()
    return TaskRequest(id=task_id, task_type="inpaint", model="opencv", inputs=inputs)


def accepted(task_id: TaskId = T1, *, sequence: int = 1, waiting_for: str = "") -> Accepted:
    return Accepted(
        task_id=task_id, queue="cpu-light", durable_sequence=sequence, waiting_for=waiting_for
    )


def finished(task_id: TaskId = T1, state: TaskState = TaskState.SUCCEEDED) -> Finished:
    return Finished(task_id=task_id, state=state)


def said(commands: list[Command]) -> list[FromClient | Heartbeat]:
    return [command.message for command in commands if isinstance(command, Send)]


def told(commands: list[Command]) -> list[Command]:
    return [command for command in commands if not isinstance(command, Send)]


class Conversation:
    """A machine and its clock; each step returns what the machine ordered."""

    def __init__(
        self, *, acknowledges: bool = True, welcome: bool = True, relays: bool = False
    ) -> None:
        self.now = 1000.0
        self.machine = ClientMachine(
            random.Random(7), "test", acknowledges=acknowledges, relays=relays
        )
        if welcome:
            self.machine.opened(now=self.now)
            self.hear(Welcome(incarnation=5, durable_sequence=0, heartbeat=5.0))

    def submit(self, task: TaskRequest, *, patient: bool = False) -> list[Command]:
        return self.machine.submit(task, now=self.now, patient=patient)

    def cancel(self, task_id: TaskId = T1) -> list[Command]:
        return self.machine.cancel(task_id, now=self.now)

    def ask(self, number: int, subject: str = "why", **arguments: Json) -> list[Command]:
        question = Ask(request_id=number, subject=subject, arguments=arguments)
        return self.machine.ask(question, now=self.now)

    def hear(self, message: ToClient) -> list[Command]:
        return self.machine.receive(message, now=self.now)

    def reopen(self) -> list[Command]:
        return self.machine.opened(now=self.now)

    def wait(self, seconds: float, *, alive: bool = True) -> list[Command]:
        """Let time pass in steps, as a shell does; the broker shows that it lives, or not."""
        commands: list[Command] = []
        end = self.now + seconds
        while self.now < end:
            deadline = self.machine.next_deadline()
            self.now = end if deadline is None else min(max(deadline, self.now), end)
            step = self.machine.tick(now=self.now)
            commands += step
            if alive and Heartbeat() in said(step):
                self.hear(BrokerHeartbeat())
            if any(isinstance(command, Reconnect) for command in step):
                break
        return commands
