"""Webhooks of tasks that end, of gateways that end before them, and of receivers that fail."""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field

from paintmq.client.result import Progress
from paintmq.errors import TaskUnknownError
from paintmq.gateway.webhooks.courier import KEPT_SECONDS, Courier
from paintmq.gateway.webhooks.delivery_places import MOST_EACH, DeliveryPlaces
from paintmq.gateway.webhooks.folder import HookFolder
from paintmq.gateway.webhooks.hook import Attempt, Hook
from paintmq.task import TaskId, TaskState

ID = TaskId("a" * 32)
HOOK = Hook(task=ID, owner=ID[:12], name="anna", url="https://h.example/")


@define
class ScriptedTask:
    id: TaskId = ID
    state: TaskState = TaskState.RUNNING
    error: None = None
    waiting: list[Any] = field(factory=list[Any])

    def done(self) -> bool:
        return self.state.is_final

    def progress(self) -> Progress:
        return Progress(state=self.state, queue="cpu-light")

    def add_done_callback(self, callback: Any) -> None:
        if self.done():
            callback(self)
        else:
            self.waiting.append(callback)

    def end(self) -> None:
        self.state = TaskState.SUCCEEDED
        for callback in self.waiting:
            callback(self)


@define
class ScriptedTasks:
    """What a courier asks the broker for."""

    task: ScriptedTask = field(factory=ScriptedTask)
    trouble: list[Exception] = field(factory=list[Exception])
    found: asyncio.Event = field(factory=asyncio.Event)

    async def find(self, caller: object, task_id: str) -> ScriptedTask:
        if self.trouble:
            raise self.trouble.pop(0)
        self.found.set()
        return self.task


@define
class Receiver:
    """Answers as it is told to; ``came`` is set at each attempt."""

    answers: list[Attempt] = field(factory=list[Attempt])
    bodies: list[Any] = field(factory=list[Any])
    came: asyncio.Event = field(factory=asyncio.Event)

    async def __call__(self, hook: Hook) -> Attempt:
        self.bodies.append(json.loads(hook.body))
        self.came.set()
        return self.answers.pop(0) if self.answers else Attempt()


@define
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def courier_of(path: Path, tasks: ScriptedTasks, send: Any, clock: Clock) -> Courier:
    folder = HookFolder(path)
    folder.make()
    return Courier(
        folder,
        tasks,  # type: ignore[arg-type]  # scripted
        send,
        clock=clock,
        look_seconds=0.01,
        rng=random.Random(1),
    )


async def until(folder: HookFolder, is_so: Callable[[Hook], bool]) -> Hook:
    async with asyncio.timeout(60):
        while True:
            hook = folder.read(ID)
            if hook is not None and is_so(hook):
                return hook
            await asyncio.sleep(0.005)


async def until_over(folder: HookFolder) -> Hook:
    return await until(folder, lambda hook: hook.is_over)


async def stopped(running: "asyncio.Task[None]") -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_the_end_of_a_task_is_told_once(tmp_path: Path) -> None:
    async def run() -> None:
        tasks, receiver = ScriptedTasks(), Receiver()
        courier = courier_of(tmp_path, tasks, receiver, Clock())
        running = asyncio.create_task(courier.run())
        courier.folder.write(HOOK)
        courier.look()
        await tasks.found.wait()
        assert receiver.bodies == []

        tasks.task.end()
        hook = await until_over(courier.folder)

        assert (hook.state, hook.attempts) == ("delivered", 1)
        told = receiver.bodies[0]
        assert (told["type"], told["data"]["state"]) == ("task.ended", "succeeded")
        assert told["data"]["result"] == f"/v1/tasks/{ID}/result"
        await stopped(running)
        again = asyncio.create_task(courier_of(tmp_path, tasks, receiver, Clock()).run())
        await asyncio.sleep(0)
        await stopped(again)
        assert len(receiver.bodies) == 1

    asyncio.run(run())


def test_a_gateway_that_ends_before_the_task_leaves_its_webhook_to_the_next(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        first, receiver = ScriptedTasks(), Receiver()
        courier = courier_of(tmp_path, first, receiver, Clock())
        running = asyncio.create_task(courier.run())
        courier.folder.write(HOOK)
        courier.look()
        await first.found.wait()
        await stopped(running)

        ended = ScriptedTasks(ScriptedTask(state=TaskState.SUCCEEDED))
        running = asyncio.create_task(courier_of(tmp_path, ended, receiver, Clock()).run())

        assert (await until_over(courier.folder)).state == "delivered"
        await stopped(running)

    asyncio.run(run())


def test_a_failed_attempt_is_repeated_when_its_pause_is_over_also_by_the_next_gateway(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        clock, tasks = Clock(), ScriptedTasks(ScriptedTask(state=TaskState.SUCCEEDED))
        receiver = Receiver([Attempt(error="it answers 500")])
        courier = courier_of(tmp_path, tasks, receiver, clock)
        courier.folder.write(HOOK)
        running = asyncio.create_task(courier.run())
        await receiver.came.wait()
        hook = await until(courier.folder, lambda hook: hook.attempts > 0)
        assert (hook.state, hook.error) == ("sending", "it answers 500")
        assert len(receiver.bodies) == 1, "not before its pause is over"
        await stopped(running)

        clock.now = hook.next_at
        running = asyncio.create_task(courier_of(tmp_path, tasks, receiver, clock).run())

        assert (await until_over(courier.folder)).attempts == 2
        assert receiver.bodies[0] == receiver.bodies[1]
        await stopped(running)

    asyncio.run(run())


def test_a_webhook_that_nobody_takes_is_told_as_failed(tmp_path: Path) -> None:
    async def run() -> None:
        clock, tasks = Clock(), ScriptedTasks(ScriptedTask(state=TaskState.SUCCEEDED))

        async def refuse(hook: Hook) -> Attempt:
            return Attempt(error="it answers 500")

        def is_over(hook: Hook) -> bool:
            clock.now = max(clock.now, hook.next_at)
            return hook.is_over

        courier = courier_of(tmp_path, tasks, refuse, clock)
        courier.folder.write(HOOK)
        running = asyncio.create_task(courier.run())

        told = (await until(courier.folder, is_over)).told()
        assert (told["state"], told["attempts"]) == ("failed", 10)
        assert told["error"] == "it answers 500"
        await stopped(running)

    asyncio.run(run())


def test_a_broker_that_is_away_is_waited_for_and_a_forgotten_task_is_told_as_unknown(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        forgotten = TaskUnknownError(ID, None, "unknown", "no such task")
        tasks, receiver = ScriptedTasks(trouble=[TimeoutError("away"), forgotten]), Receiver()
        courier = courier_of(tmp_path, tasks, receiver, Clock())
        courier.folder.write(HOOK)
        running = asyncio.create_task(courier.run())

        assert (await until_over(courier.folder)).state == "delivered"
        assert receiver.bodies[0]["data"]["state"] == "unknown"
        await stopped(running)

    asyncio.run(run())


def test_what_is_over_is_removed_after_a_week(tmp_path: Path) -> None:
    async def run() -> None:
        clock, tasks = Clock(), ScriptedTasks(ScriptedTask(state=TaskState.SUCCEEDED))
        courier = courier_of(tmp_path, tasks, Receiver(), clock)
        courier.folder.write(HOOK)
        running = asyncio.create_task(courier.run())
        await until_over(courier.folder)

        async with asyncio.timeout(60):
            while courier.folder.names():
                clock.now += KEPT_SECONDS + 1
                await asyncio.sleep(0.005)
        await stopped(running)

    asyncio.run(run())


def test_a_slow_host_holds_up_no_other() -> None:
    places = DeliveryPlaces()

    taken = [places.take("https://slow.example/a") for _ in range(MOST_EACH + 1)]

    assert taken == [True] * MOST_EACH + [False]
    assert places.take("https://other.example/")
    places.give_back("https://slow.example/b")
    assert places.take("https://slow.example/c")
