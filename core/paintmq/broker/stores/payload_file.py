"""Writes the bytes of a payload to a file, past the system's file cache where that is possible.

A durable payload is on the disk before anything is said of it, and is hardly ever read again, so
the cache would only cost: pages that nobody had for a while are the dearest part of a new file
(12.6 MB: 49 ms of processor time, 3 past the cache).
"""

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import threading
from pathlib import Path

from paintmq.digests import XXH3, Proof
from paintmq.shared_memory.ranges import quick_view
from paintmq.task import Buffer
from paintmq.units import MIB

CHUNK_BYTES = 2 * MIB
"""Copied, hashed and written at a time. Larger ones do not stay in the processor's own caches."""
BLOCK_BYTES = 4096
"""What is written past the cache begins and ends at multiples of it, in memory and in the file."""

_DIRECT = getattr(os, "O_DIRECT", 0)
_NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
"""Why something cannot be opened that is no file, or is not there."""
_own = threading.local()


def write_payload(descriptor: int, data: Buffer, *, past_cache: bool) -> str:
    """Write a file from its start; return the digest of what was written.

    ``data`` may change meanwhile, as memory shared with a client can: past the cache, digest and
    file still agree.

    Raises:
        OSError: it cannot be written.
    """
    view = quick_view(data)
    proof = Proof(XXH3)
    whole = 0
    if past_cache and _go_past_cache(descriptor):
        whole = len(view) // BLOCK_BYTES * BLOCK_BYTES
        chunk = _chunk()
        for begin in range(0, whole, CHUNK_BYTES):
            piece = view[begin : min(begin + CHUNK_BYTES, whole)]
            aligned = chunk[: len(piece)]
            aligned[:] = piece
            proof.add(aligned)
            _write(descriptor, aligned)
        _use_cache(descriptor)
    rest = view[whole:]
    proof.add(rest)
    _write(descriptor, rest)
    return proof.text


def open_payload(path: Path) -> int | None:
    """Open a file for reading; None if there is no file of ours by that name.

    A pipe, a device, a folder or a link that somebody put in its place is not ours: to open a pipe
    would wait for its other end, for ever.

    Raises:
        OSError: it is there and cannot be opened.
    """
    wanted = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, wanted)
    except OSError as error:
        if error.errno in _NOT_OURS:
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return descriptor


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except OSError as error:
            # The file system wants other multiples than ours, or none of this after all.
            if error.errno != errno.EINVAL or not _use_cache(descriptor):
                raise


def _go_past_cache(descriptor: int) -> bool:
    """Return whether the file system can."""
    if not _DIRECT:
        return False
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | _DIRECT)
        return True
    return False


def _use_cache(descriptor: int) -> bool:
    """Return whether it was not used."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if not flags & _DIRECT:
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
    return True


def _chunk() -> memoryview:
    """Return memory of this thread's own that begins at a page."""
    if not hasattr(_own, "chunk"):
        _own.chunk = memoryview(mmap.mmap(-1, CHUNK_BYTES))
    chunk: memoryview = _own.chunk
    return chunk
