"""Connections that ask for nothing end in time; those that are served are left alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs paintmq[http]")

import uvicorn
from uvicorn.server import ServerState

from paintmq.gateway import connections
from paintmq.gateway.connections import PromptProtocol

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class SlowApp:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered.set()
        await self.go.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def served(app: SlowApp) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(app, http=PromptProtocol, log_level="critical", timeout_keep_alive=60)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: PromptProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


async def ends(reader: asyncio.StreamReader) -> bool:
    """Return whether the server closes the connection, whatever it says before."""
    try:
        async with asyncio.timeout(20):
            while await reader.read(4096):
                pass
    except ConnectionResetError:
        pass
    return True


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)


def test_a_silent_connection_is_closed() -> None:
    """F9: 140 of them shut the gateway to everybody, for as long as they stayed."""

    async def run() -> bool:
        async with served(SlowApp()) as (reader, _):
            return await ends(reader)

    assert asyncio.run(run())


def test_headers_that_trickle_end_in_time() -> None:
    async def run() -> bool:
        async with served(SlowApp()) as (reader, writer):

            async def trickle() -> None:
                for byte in REQUEST[:-1] * 1_000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.02)

            trickling = asyncio.create_task(trickle())
            try:
                return await ends(reader)
            finally:
                trickling.cancel()
                await asyncio.gather(trickling, return_exceptions=True)

    assert asyncio.run(run())


def test_a_connection_that_is_served_may_take_longer_and_ask_again() -> None:
    async def run() -> list[bytes]:
        app = SlowApp()
        app.go.clear()
        async with served(app) as (reader, writer):
            writer.write(REQUEST)
            await app.entered.wait()
            # A connection that asks for nothing, begun later, has used up its time meanwhile.
            async with served(SlowApp()) as (silent, _):
                assert await ends(silent)
            app.go.set()
            answers = [await reader.readuntil(b"\r\n\r\n")]
            writer.write(REQUEST)
            answers.append(await reader.readuntil(b"\r\n\r\n"))
            assert await ends(reader), "and then it says nothing"
            return answers

    assert all(answer.startswith(b"HTTP/1.1 204") for answer in asyncio.run(run()))
