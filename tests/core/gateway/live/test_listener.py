"""What a listener is told: its own choice, in order, with previews only while it keeps up."""

import asyncio
from typing import Any, cast

import numpy as np
from attrs import define

from paintmq.client.result import Progress
from paintmq.gateway.live.feed import Feed
from paintmq.gateway.live.listener import FAR_BEHIND, Listener
from paintmq.http_api import Caller
from paintmq.task import TaskState

ANNA = Caller(name="anna", owner="a" * 12)


@define
class Previewed:
    """Feeds whose every task has a preview."""

    step: int = 1

    def handle(self, caller: Caller, task_id: str) -> "Previewed":
        return self

    def progress(self) -> Progress:
        pixels = np.zeros((4, 6, 3), np.uint8)
        return Progress(state=TaskState.RUNNING, step=self.step, preview=pixels)


def listener(feed: Feed, **changes: Any) -> Listener:
    return Listener(cast("Any", Previewed()), ANNA, feed, **changes)


def take(listening: Listener, count: int) -> list[dict[str, Any]]:
    async def take_some() -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            async for message in listening.told():
                told.append(message)
                if len(told) == count:
                    break
        return told

    return asyncio.run(take_some())


def publish(feed: Feed, task_id: str, step: int = 0, *, is_ending: bool = False) -> None:
    feed.publish(task_id, {"id": task_id, "step": step}, is_ending=is_ending)


def test_a_listener_is_told_of_what_it_asked_for_alone() -> None:
    feed = Feed("f")
    for name in "abab":
        publish(feed, name, feed.last)

    (told,) = take(listener(feed, wanted={"b"}), 1)

    assert (told["id"], told["step"], told["number"], told["feed"]) == ("b", 3, 4, "f")


def test_who_keeps_up_sees_the_picture_grow_and_who_does_not_the_ending() -> None:
    feed = Feed("f")
    publish(feed, "a")
    (told,) = take(listener(feed, everything=True, previews=True), 1)
    assert (told["preview"]["width"], told["preview"]["height"]) == (6, 4)

    for number in range(FAR_BEHIND + 1):
        publish(feed, f"task {number}", is_ending=number == 3)
    behind = take(listener(feed, everything=True, previews=True), FAR_BEHIND + 2)
    assert not any("preview" in each for each in behind)
    assert "task 3" in [each["id"] for each in behind]


def test_one_preview_is_sent_once() -> None:
    feed = Feed("f")
    listening = listener(feed, everything=True, previews=True)
    publish(feed, "a", 1)
    first = take(listening, 1)
    publish(feed, "a", 2)
    second = take(listening, 1)

    assert "preview" in first[0]
    assert "preview" not in second[0]


def test_who_comes_back_goes_on_where_it_was_or_is_told_what_is_lost() -> None:
    feed = Feed("f")
    for name in "abc":
        publish(feed, name)
    back = listener(feed, everything=True, had=feed.last)

    assert back.resume("f", 1) is None
    assert [each["id"] for each in take(back, 2)] == ["b", "c"]
    assert listener(feed, had=3).resume("another", 1) == {
        "type": "missed",
        "feed": "f",
        "after": 1,
    }
