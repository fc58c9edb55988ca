"""Ends a server whose client has ended by itself: it would answer nobody, and look alive."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_LOOK = 1.0
"""Seconds between two looks."""


class Failing(Protocol):
    """A client."""

    @property
    def has_failed(self) -> bool: ...


class Stoppable(Protocol):
    """A uvicorn.Server."""

    should_exit: bool


@contextmanager
def ends_with(client: Failing, server: Stoppable, look: float = _LOOK) -> Iterator[None]:
    """Tell the server to exit as soon as the client has failed."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(look):
            if client.has_failed:
                server.should_exit = True
                return

    thread = threading.Thread(target=watch, name="paintmq-client-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
