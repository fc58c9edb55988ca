"""A client that hands in tasks for others holds nothing that the broker has."""

import asyncio
from typing import Any

import numpy as np
from tests.harness.any_client import accepts
from tests.harness.client_port import ScriptedBroker

from paintmq import AsyncClient, Task, TaskState, TaskType
from paintmq.wire.messages import Finished, Query, ResultReceived, Submit


def make_task() -> Task:
    return Task(TaskType.INPAINT, {"model": "opencv"}, {"image": np.zeros((8, 8, 3), np.uint8)})


def done(task_id: Any) -> Finished:
    return Finished(task_id=task_id, state=TaskState.SUCCEEDED)


def test_inputs_are_let_go_of_and_room_is_made_when_the_broker_has_the_task(
    broker: ScriptedBroker,
) -> None:
    broker.when(Submit, lambda m: [accepts(m)])

    async def run() -> None:
        async with AsyncClient(broker.endpoint, relays=True, max_tasks=1) as client:
            for _ in range(3):
                handle = await client.submit(make_task(), timeout=30)
                await handle.accepted(30)
                assert handle.task is None
            assert client._session.window.bytes == 0
            assert not client._session._loop._payloads

    asyncio.run(run())


def test_a_result_is_confirmed_when_the_program_says_so(broker: ScriptedBroker) -> None:
    broker.when(Submit, lambda m: [accepts(m), done(m.task.id)])
    broker.when(Query, lambda m: [done(task_id) for task_id in m.task_ids])

    async def run() -> None:
        async with AsyncClient(broker.endpoint, relays=True) as client:
            handle = await client.submit(make_task())
            await handle
            again = await client.fetch(handle.id)
            await again
            assert broker.of(ResultReceived) == []
            await client.confirm(again)
            await asyncio.to_thread(broker.wait_for, ResultReceived)

    asyncio.run(run())
    assert len(broker.of(ResultReceived)) == 1


def test_without_room_a_task_is_refused_at_once(broker: ScriptedBroker) -> None:
    from paintmq.errors import NoRoomError

    async def run() -> str:
        async with AsyncClient(broker.endpoint, relays=True, max_tasks=1) as client:
            await client.submit(make_task(), timeout=0)
            try:
                await client.submit(make_task(), timeout=0)
            except NoRoomError as error:
                return error.code
            raise AssertionError("it was let in")

    assert asyncio.run(run()) == "client_full"
