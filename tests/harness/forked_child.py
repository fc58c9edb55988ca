"""A forked child that lives as long as a test wants, and shares what a fork shares."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def forked_child(act: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Fork a child that acts, and then lives until the end of the ``with`` statement.

    Raises:
        AssertionError: what it does raises.
    """
    done, ready = os.pipe()
    kept, hold = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(hold)
            act()
            os.write(ready, b"!")
            os.read(kept, 1)
            status = 0
        finally:
            os._exit(status)  # nothing of the test's may be cleaned up here
    os.close(ready)
    os.close(kept)
    try:
        assert os.read(done, 1) == b"!", "what the child did failed; its reason is on stderr"
        yield child
    finally:
        os.close(hold)
        os.close(done)
        os.waitpid(child, 0)
