"""Python's interpreter lock in a broker that runs as a process of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 0.0005
"""For which a thread keeps the lock while another wants it. With Python's own 5 ms a commit, in
which the journal's thread takes the lock dozens of times, lasted 100 ms and more beside a busy
loop."""


@contextmanager
def shared_often() -> Iterator[None]:
    """Let the journal's thread have its turn soon, however busy the loop is.

    Not for a broker inside another's program, whose threads are not ours.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
