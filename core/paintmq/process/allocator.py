"""What becomes of freed memory, in processes that are ours alone: for the next picture, or back.

The GNU C library gives large blocks back to the system at once. Each picture then gets fresh pages,
and for a processor in a virtual machine 12 MB of them can take as long as three copies. Elsewhere
than with that library nothing is done here.
"""

import contextlib
import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
KEPT_BYTES = 256 * 1024 * 1024
"""Freed memory that a process may keep at the end of its heap."""
LARGE_BYTES = 32 * 1024 * 1024
"""Blocks from here on are given back at once, as before: weights, and the largest pictures."""


def keep() -> None:
    """Let freed blocks serve the next ones of their size."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # another C library
            library = ctypes.CDLL(None)
            library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
            library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def give_back() -> None:
    """Give the system all that is free now."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
