"""Mosec: an HTTP server in Rust with one Python worker; a keep-alive connection for each call."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peer_systems.system import (
    Picture,
    System,
    SystemMissingError,
    free_port,
    is_listening,
    process,
    python,
    wait_until,
)


@contextmanager
def open_system(folder: Path) -> Iterator[System]:
    if find_spec("mosec") is None or find_spec("aiohttp") is None:
        raise SystemMissingError("mosec or aiohttp is not installed")
    import aiohttp

    port = free_port()
    server = Path(__file__).with_name("mosec_server.py")
    options = ["--address", "127.0.0.1", "--port", str(port), "--path", str(folder / "mosec")]
    limits = ["--timeout", "60000", "--max-request-size", str(64 << 20), "--log-level", "error"]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    with process(python(server, *options, *limits)):
        wait_until(lambda: is_listening(port))
        thread.start()

        async def opened() -> Any:
            return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))

        session = asyncio.run_coroutine_threadsafe(opened(), loop).result()

        async def post(body: bytes) -> bytes:
            async with session.post(f"http://127.0.0.1:{port}/inference", data=body) as answer:
                answer.raise_for_status()
                content: bytes = await answer.read()
                return content

        async def post_picture(picture: Picture) -> Picture:
            content = await post(picture.tobytes())
            return np.frombuffer(content, np.uint8).reshape(picture.shape)

        def result(future: "Future[Any]") -> object:
            return future.result(120)

        try:
            yield System(
                lambda payload: asyncio.run_coroutine_threadsafe(post(payload), loop),
                lambda picture: asyncio.run_coroutine_threadsafe(post_picture(picture), loop),
                result,
            )
        finally:
            asyncio.run_coroutine_threadsafe(session.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
