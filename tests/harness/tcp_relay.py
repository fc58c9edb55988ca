"""Something between two programs that maps a port: as docker -p, ssh -L and NAT do."""

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self


class TcpRelay:
    """Listens on a port of the system's choice and passes each connection on to another port.

    Use it in a ``with`` statement. ``passed``: the connections it has taken.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-relay")
        self.port = 0
        self.passed = 0
        self._flows = asyncio.Event()
        self._flows.set()

    def __enter__(self) -> Self:
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(self._serve(), self._loop)
        self._server = serving.result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Pass nothing on any more, either way, and end no connection: as a network that is cut."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def mend(self) -> None:
        """Pass on what was held back, and all that comes."""
        self._loop.call_soon_threadsafe(self._flows.set)

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._pass_on, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.passed += 1
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._flows.wait()
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
                try:
                    await asyncio.gather(
                        self._copy(reader, far_writer), self._copy(far_reader, writer)
                    )
                finally:
                    far_writer.close()
        finally:
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            await self._flows.wait()
            writer.write_eof()
