"""Python's interpreter lock in a broker that runs as a process of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 0.0005
"""How long a thread keeps the lock while another wants it. The journal's thread takes the lock
dozens of times in a commit; with Python's own 5 ms each, a commit beside a busy loop took 100 ms
and more."""


@contextmanager
def shared_often() -> Iterator[None]:
    """Give the journal's thread its turn soon, however busy the loop is.

    Not for a broker embedded in another program, whose threads are not ours to tune.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
