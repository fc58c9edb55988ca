"""How many bytes of decoded pictures this process holds for requests, and for whose.

A file of some hundred kilobytes may decode to half a gigabyte, and a picture is held for as long as
its task runs: bodies alone do not say what a request costs.

Rule: bytes are counted before a picture is decoded, and no longer once the array has gone.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from attrs import define, field

from paintmq.gateway.refusal import RefusedRequestError
from paintmq.image import format_of, size_of_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 1024 * 1024 * 1024
"""Held at a time; while several callers hold some, each at most half of it."""
_DEPTH_OF_PNG = 24
_CHANNELS = 4

_owner: ContextVar[str] = ContextVar("owner", default="")


@contextmanager
def decoding_for(owner: str) -> Iterator[None]:
    """Count what is decoded here, and in threads that are started from here, as this caller's."""
    token = _owner.set(owner)
    try:
        yield
    finally:
        _owner.reset(token)


@define(eq=False)
class DecodedBytes:
    """Safe from any thread."""

    most: int = MOST_BYTES
    _held: dict[str, int] = field(factory=dict[str, int], init=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False)
    """Reentrant, as an array may go, and give its bytes back, at any time."""

    @property
    def held(self) -> int:
        with self._lock:
            return sum(self._held.values())

    def take(self, owner: str, size: int) -> None:
        """Make room for a caller's picture.

        Raises:
            RefusedRequestError: there is none.
        """
        with self._lock:
            own = self._held.get(owner, 0)
            others = sum(self._held.values()) - own
            room = min(self.most - others, self.most // 2) if others else self.most
            if own + size > room:
                message = "too many large pictures are being worked on"
                raise RefusedRequestError(429, "busy", message, **{"retry-after": "1"})
            self._held[owner] = own + size

    def give_back(self, owner: str, size: int) -> None:
        with self._lock:
            left = self._held.get(owner, 0) - size
            if left > 0:
                self._held[owner] = left
            else:
                self._held.pop(owner, None)


DECODED = DecodedBytes()
"""Of this process, whose memory it is."""


@contextmanager
def room_for(data: bytes) -> "Iterator[_Counted]":
    """Hold room for a picture that is decoded now, and for its array as long as that lives.

    Raises:
        RefusedRequestError: there is none.
    """
    counted = _Counted(_owner.get(), _decoded_bytes(data))
    DECODED.take(counted.owner, counted.size)
    try:
        yield counted
    finally:
        if not counted.is_kept:
            DECODED.give_back(counted.owner, counted.size)


@define(eq=False)
class _Counted:
    owner: str
    size: int
    is_kept: bool = False

    def keep(self, pixels: "NDArray[Any]") -> "NDArray[Any]":
        """Count this array instead of what was expected; return it."""
        DECODED.give_back(self.owner, self.size - pixels.nbytes)
        weakref.finalize(pixels, DECODED.give_back, self.owner, pixels.nbytes).atexit = False
        self.is_kept = True
        return pixels


def _decoded_bytes(data: bytes) -> int:
    """Return what a picture may take up, from its header; 0 if that cannot be told."""
    width, height = size_of_file(data)
    kind = format_of(data)
    depth = data[_DEPTH_OF_PNG] if kind == "png" and len(data) > _DEPTH_OF_PNG else 8
    is_deep = depth > 8 or kind == "tiff"
    return width * height * _CHANNELS * (2 if is_deep else 1)
