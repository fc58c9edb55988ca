"""What was sent is confirmed, what was not is not; and results wait for room in memory."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="needs paintmq[http]")

from paintmq.gateway.delivery import PIECE_BYTES, ByteRoom, ConfirmedResponse


class Peer:
    """Reads some pieces of an answer, and then leaves."""

    def __init__(self, reads: float = float("inf")) -> None:
        self.reads = reads
        self.body = b""
        self.pieces = 0
        self.left = asyncio.Event()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] != "http.response.body":
            return
        self.pieces += 1
        if self.pieces > self.reads:
            self.left.set()
        self.body += message.get("body", b"")


def delivered(size: int, *, reads: float = float("inf"), method: str = "GET") -> tuple[Peer, int]:
    async def run() -> tuple[Peer, int]:
        peer, confirmed = Peer(reads), 0

        async def sent() -> None:
            nonlocal confirmed
            confirmed += 1

        response = ConfirmedResponse(bytes(size))
        response.sent = sent
        await response({"type": "http", "method": method}, peer.receive, peer.send)
        return peer, confirmed

    return asyncio.run(run())


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES])
def test_a_response_that_was_sent_whole_is_confirmed_once(size: int) -> None:
    peer, confirmed = delivered(size)

    assert (len(peer.body), confirmed) == (size, 1)
    assert peer.pieces == max(1, -(-size // PIECE_BYTES))


def test_a_response_whose_peer_left_is_not_confirmed() -> None:
    peer, confirmed = delivered(10 * PIECE_BYTES, reads=3)

    assert (peer.pieces < 10, confirmed) == (True, 0)


def test_a_question_for_the_headers_alone_confirms_nothing() -> None:
    assert delivered(10, method="HEAD")[1] == 0


@given(sizes=st.lists(st.integers(1, 150), max_size=20), cancelled=st.sets(st.integers(0, 19)))
def test_no_more_bytes_than_there_is_room_for_but_everybody_gets_a_turn(
    sizes: list[int], cancelled: set[int]
) -> None:
    async def run() -> None:
        room = ByteRoom(100)
        inside: list[int] = []

        async def use(size: int) -> None:
            async with room.room_for(size):
                inside.append(size)
                try:
                    assert len(inside) == 1 or sum(inside) <= 100
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                finally:
                    inside.remove(size)

        users = [asyncio.create_task(use(size)) for size in sizes]
        await asyncio.sleep(0)
        for number, user in enumerate(users):
            if number in cancelled:
                user.cancel()
        outcomes = await asyncio.gather(*users, return_exceptions=True)
        assert not [each for each in outcomes if isinstance(each, AssertionError)]
        assert room.taken == 0

    asyncio.run(asyncio.wait_for(run(), 30))
