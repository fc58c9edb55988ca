"""One wait for everything a node listens to: ZeroMQ sockets, pipes, ends of processes."""

from collections.abc import Callable
from typing import TypeAlias

import zmq
from attrs import define, field

Source: TypeAlias = "zmq.Socket[bytes] | int"
"""A ZeroMQ socket, or a file descriptor."""


@define(eq=False)
class Readiness:
    """Calls back for every source that can be read or written now. One thread; level-triggered."""

    _poller: zmq.Poller = field(factory=zmq.Poller, init=False)
    _callbacks: dict[Source, Callable[[], None]] = field(
        factory=dict[Source, Callable[[], None]], init=False
    )

    def watch(self, source: Source, callback: Callable[[], None], *, write: bool = False) -> None:
        """Call back whenever the source can be read, or (``write``) written.

        Watching a source again replaces how it is watched.
        """
        self._callbacks[source] = callback
        self._poller.register(source, zmq.POLLIN | (zmq.POLLOUT if write else 0))

    def forget(self, source: Source) -> None:
        """Stop watching; harmless for a source that is not watched."""
        if self._callbacks.pop(source, None) is not None:
            self._poller.unregister(source)

    def wait(self, seconds: float | None) -> None:
        """Wait at most that long for a source to be ready, and call back for those that are."""
        limit = None if seconds is None else max(0, round(seconds * 1000))
        for source, _ in self._poller.poll(limit):
            # An earlier callback of this round may have forgotten the source.
            callback = self._callbacks.get(source)
            if callback is not None:
                callback()
