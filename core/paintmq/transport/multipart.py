"""Reads multipart messages without letting one of them hold up the others.

ZeroMQ limits the size of a frame and the number of messages, but not the number of frames in a
message: two megabytes of empty frames would keep a reader busy for seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import zmq
from zmq.backend import Socket as _Backend

from paintmq.task import Buffer
from paintmq.transport.connection_watch import ConnectionWatch
from paintmq.transport.sockets import Socket

CUT_AT_ONCE = 2_000
"""Frames that one call discards: a few milliseconds."""
FRAME_SECONDS = 2e-6
"""Cost of a frame that is read and discarded."""
OFFENDER_SECONDS = 0.02
"""Cost, inside ZeroMQ, of a connection that had to be cut."""
COPIED_BYTES = 65_536
"""Up to this a frame is copied into the message: cheaper than to share it between threads."""

# Below what pyzmq adds for other kinds of sockets, which takes longer than to copy a small frame.
_send: Callable[[Socket, Buffer, int, bool], object] = cast("Any", _Backend.send)
_receive: Callable[[Socket, int, bool], zmq.Frame] = cast("Any", _Backend.recv)
_option: Callable[[Socket, int], int] = cast("Any", _Backend.get)
_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)
_LAST = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)


def send_frames(socket: Socket, frames: Sequence[Buffer]) -> None:
    """Send one message without waiting; all of it or, where an error is raised, nothing.

    As ``socket.send_multipart(frames, DONTWAIT, copy=False)`` does, at a third of the cost for
    messages of many small frames (measured: 50 us for 33, instead of 120).

    Raises:
        zmq.ZMQError: ``Again`` where the connection takes nothing more for now, among others.
    """
    last = len(frames) - 1
    for place, frame in enumerate(frames):
        size = len(frame) if type(frame) is bytes else memoryview(frame).nbytes
        _send(socket, frame, _LAST if place == last else _MORE, size <= COPIED_BYTES)


def receive_frames(socket: Socket) -> list[Buffer]:
    """Receive one message without waiting, its frames uncopied.

    As ``socket.recv_multipart(DONTWAIT, copy=False)`` does, and asks each frame for its buffer, at
    half of the cost for messages of many small frames.

    Raises:
        zmq.ZMQError: ``Again`` where there is none yet, among others.
    """
    frame: zmq.Frame = _receive(socket, _LAST, False)  # noqa: FBT003 -- it takes no keyword
    frames: list[Buffer] = [frame.buffer]
    while frame.more:
        frame = _receive(socket, 0, False)  # noqa: FBT003 -- as above
        frames.append(frame.buffer)
    return frames


def has_message(socket: Socket) -> bool:
    """Whether a message can be received: to ask takes a third of what a vain attempt does."""
    return bool(_option(socket, _EVENTS) & _READABLE)


class MultipartReader:
    """The reading side of one socket."""

    def __init__(
        self, socket: Socket, *, most_frames: int, watch: ConnectionWatch | None = None
    ) -> None:
        """``watch`` is told what was read; the reader closes it."""
        self._socket = socket
        self._most = most_frames
        self._watch = watch
        self._thrown_away = 0
        self.is_cutting = False
        """The rest of a message with too many frames is being discarded by ``receive``."""

    def receive(self) -> list[zmq.Frame] | None:
        """Return the next message, or None when there is none or not yet.

        Of a message with too many frames one more than allowed is returned, so that it is noticed.
        """
        try:
            if self.is_cutting and not self._cut():
                return None
            frame = self._socket.recv(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return None
        if self._watch is not None:
            self._watch.heard(frame)
        frames = [frame]
        while frame.more:
            if len(frames) > self._most:
                self.is_cutting = True
                break
            # The parts of a message become readable together.
            frame = self._socket.recv(copy=False)
            frames.append(frame)
        return frames

    @property
    def wasted(self) -> float:
        """Estimated seconds spent so far on useless input."""
        offenders = self._watch.offenders if self._watch is not None else 0
        return self._thrown_away * FRAME_SECONDS + offenders * OFFENDER_SECONDS

    def hang_up(self, frame: zmq.Frame, *, now: float | None = None) -> None:
        """Cut the connection a message came from; see ``ConnectionWatch.cut_sender``."""
        if self._watch is not None:
            self._watch.cut_sender(frame, now=now)

    def inspect(self, *, now: float, read_empty: bool) -> bool:
        """Inspect the connections; see ``ConnectionWatch.inspect``."""
        if self._watch is None:
            return False
        return self._watch.inspect(now=now, read_empty=read_empty, is_cutting=self.is_cutting)

    def close(self) -> None:
        """Stop watching; call it before the socket is closed."""
        if self._watch is not None:
            self._watch.close()

    def _cut(self) -> bool:
        """Discard frames; return whether the next one begins a message."""
        for _ in range(CUT_AT_ONCE):
            self._thrown_away += 1
            if not self._socket.recv(copy=False).more:
                self.is_cutting = False
                return True
        return False
