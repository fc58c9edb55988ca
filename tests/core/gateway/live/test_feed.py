"""News of tasks: numbered, the latest of each, and bounded."""

import asyncio

import pytest

from paintmq.gateway.live import feed as feed_module
from paintmq.gateway.live.feed import Feed


def publish(feed: Feed, task_id: str, step: int, *, is_ending: bool = False) -> None:
    feed.publish(task_id, {"id": task_id, "step": step}, is_ending=is_ending)


def seen(feed: Feed, number: int = 0) -> list[tuple[str, int]]:
    return [(news.task_id, news.fields["step"]) for news in feed.since(number)]


def test_who_comes_back_gets_the_latest_of_each_task_since() -> None:
    feed = Feed("f")
    for step in range(5):
        publish(feed, "a", step)
    had = feed.last
    publish(feed, "b", 1)
    publish(feed, "a", 5)
    publish(feed, "b", 2)

    assert seen(feed, had) == [("a", 5), ("b", 2)]
    assert seen(feed, feed.last) == []
    assert not feed.has_forgotten(had)


def test_nothing_comes_after_an_ending_and_nothing_is_told_twice() -> None:
    feed = Feed("f")
    publish(feed, "a", 1)
    publish(feed, "a", 1)
    publish(feed, "a", 2, is_ending=True)
    publish(feed, "a", 3)

    assert seen(feed) == [("a", 2)]
    assert feed.last == 2


def test_of_many_tasks_the_oldest_are_forgotten_and_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed_module, "MAX_TASKS", 3)
    feed = Feed("f")
    for number in range(10):
        publish(feed, str(number), number)

    assert seen(feed) == [("7", 7), ("8", 8), ("9", 9)]
    assert feed.has_forgotten(6)
    assert not feed.has_forgotten(7)


def test_who_waits_is_woken_by_news() -> None:
    async def test() -> list[tuple[str, int]]:
        feed = Feed("f")
        waiting = [asyncio.create_task(feed.wait(0)) for _ in range(3)]
        await asyncio.sleep(0)
        publish(feed, "a", 1)
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)
            await feed.wait(0)
        return seen(feed)

    assert asyncio.run(test()) == [("a", 1)]
