"""Places for requests: fair to every caller."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from paintmq.gateway import slots
from paintmq.gateway.refusal import RefusedRequestError
from paintmq.gateway.slots import FairSlots, Slot


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(within())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_flood_delays_another_by_one_request() -> None:
    async def test() -> None:
        places = FairSlots(4)
        order: list[str] = []
        held = [await places.take("flood") for _ in range(3)]

        async def one(name: str) -> None:
            slot = await places.take(name)
            order.append(name)
            slot.release()

        flood = [asyncio.create_task(one("flood")) for _ in range(50)]
        await settle()
        assert order == [], "the flood may not hold the last place"
        await one("anna")
        assert order == ["anna"]

        last = await places.take("bert")
        waiting = asyncio.create_task(one("anna"))
        await settle()
        held[0].release()
        await waiting
        assert order.index("anna", 1) <= 2, "in turn, whatever the length of the lines"
        for slot in (*held, last):
            slot.release()
        await asyncio.gather(*flood)
        assert places.serving == 0

    run(test)


def test_a_place_comes_in_time_or_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LINE_SECONDS", 0.01)

    async def test() -> None:
        places = FairSlots(1)
        held = await places.take("anna")
        with pytest.raises(RefusedRequestError) as caught:
            await places.take("bert")
        assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "1")
        held.release()
        held.release()
        (await places.take("bert")).release()
        assert (places.serving, places._lines) == (0, {})

    run(test)


def test_a_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LINE", 1)

    async def test() -> None:
        places = FairSlots(1)
        held = await places.take("anna")
        second = asyncio.create_task(places.take("anna"))
        await settle()
        with pytest.raises(RefusedRequestError):
            await places.take("anna")
        held.release()
        (await second).release()
        assert places.serving == 0

    run(test)


@pytest.mark.parametrize("after_its_turn", [False, True])
def test_who_leaves_the_line_leaves_no_place_behind(after_its_turn: bool) -> None:
    async def test() -> None:
        places = FairSlots(1)
        held = await places.take("anna")
        gone = asyncio.create_task(places.take("bert"))
        await settle()
        if after_its_turn:
            held.release()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        held.release()
        (await places.take("carla")).release()
        assert (places.serving, places._held, places._lines) == (0, {}, {})

    run(test)


def test_who_waits_takes_no_place_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "MAX_WAITING", 2)
    monkeypatch.setattr(slots, "MAX_WAITING_EACH", 1)

    async def test() -> None:
        places = FairSlots(1)
        first = await places.take("anna")
        with first.waiting():
            assert (places.serving, places.waiting) == (0, 1)
            second: Slot = await places.take("anna")
            with pytest.raises(RefusedRequestError), second.waiting():
                raise AssertionError
            second.release()
            third = await places.take("bert")
            with third.waiting(), pytest.raises(RefusedRequestError), places.waits("carla"):
                raise AssertionError
            third.release()
        assert (places.serving, places.waiting) == (1, 0)
        first.release()
        assert (places.serving, places._held, places._waiting) == (0, {}, {})

    run(test)
