"""Unfinished tasks of a token: counted over a restart, and given back at each task's end."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from attrs import define, field

from paintmq.gateway.quotas import Quotas
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.http_api import Caller
from paintmq.task import TaskId

ANNA = Caller(name="anna", owner="a" * 12, quota=2)
FREE = Caller(name="free", owner="f" * 12)


@define
class Handle:
    id: TaskId
    callbacks: list[Callable[[Any], object]] = field(factory=list[Callable[[Any], object]])

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self.callbacks.append(callback)

    def end(self) -> None:
        for callback in self.callbacks:
            callback(self)


@define
class FetchingClient:
    handles: dict[str, Handle] = field(factory=dict[str, Handle])

    async def fetch(self, task_id: str) -> Handle:
        return self.handles.setdefault(task_id, Handle(TaskId(task_id)))


def test_a_place_is_taken_by_a_task_and_given_back_when_it_ends() -> None:
    quotas = Quotas(cast("Any", FetchingClient()))
    one, two = Handle(TaskId("1")), Handle(TaskId("2"))
    for handle in (one, two):
        quotas.enter(ANNA, handle.id)
        quotas.follow(ANNA, cast("Any", handle))
    with pytest.raises(RefusedRequestError) as caught:
        quotas.enter(ANNA, TaskId("3"))
    assert (caught.value.status, caught.value.code) == (429, "quota")
    quotas.enter(ANNA, TaskId("1"))  # the same task, by its idempotency key

    one.end()

    quotas.enter(ANNA, TaskId("3"))
    with pytest.raises(RefusedRequestError):
        quotas.enter(ANNA, TaskId("4"))


def test_what_was_refused_takes_no_place() -> None:
    quotas = Quotas(cast("Any", FetchingClient()))
    for number in range(10):
        quotas.enter(ANNA, TaskId(str(number)))
        quotas.leave(ANNA, TaskId(str(number)))
    for number in range(10):
        quotas.enter(FREE, TaskId(str(number)))
        quotas.leave(FREE, TaskId(str(number)))


def test_tasks_of_an_earlier_gateway_are_counted_until_they_end() -> None:
    client = FetchingClient()
    quotas = Quotas(cast("Any", client))
    assert not quotas.knows(ANNA)
    assert quotas.knows(FREE)

    async def take_over() -> None:
        await quotas.take_over(ANNA, [TaskId("1"), TaskId("2")])
        await quotas.take_over(ANNA, [TaskId("3")])  # at the same time, by another request

    asyncio.run(take_over())

    with pytest.raises(RefusedRequestError):
        quotas.enter(ANNA, TaskId("4"))
    client.handles["1"].end()
    quotas.enter(ANNA, TaskId("4"))
    assert set(client.handles) == {"1", "2"}
