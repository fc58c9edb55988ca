"""Whether freed memory is kept for the next picture or returned to the system.

The GNU C library returns large blocks at once. Each picture then gets fresh pages, and in a virtual
machine 12 MB of those can cost as much as copying them three times. With any other C library
nothing is done here. For processes of our own only: the allocator of an embedding program is not
ours to tune.
"""

import contextlib
import ctypes
import sys

from paintmq.units import MIB

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
KEPT_BYTES = 256 * MIB
"""Freed memory that a process may keep at the end of its heap."""
LARGE_BYTES = 32 * MIB
"""Blocks of this size and more are still returned at once: weights, and the largest pictures."""


def keep() -> None:
    """Keep freed blocks for the next allocations."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library
            library = ctypes.CDLL(None)
            library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
            library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def give_back() -> None:
    """Return everything that is free now to the system."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
