"""Locks on files that end with their owner, whatever it has forked.

A fork shares every open file, and a lock lasts until the last process that shares it closes it: a
forked child (``multiprocessing`` by "fork", a web server's worker) would hold its parent's journal
after the parent's death. So a child closes what it got of these, and giving a lock up unlocks it.
"""

import fcntl
import os

_held: dict[int, None] = {}
"""Descriptors of this process's own locks."""


def lock(descriptor: int) -> None:
    """Lock the file exclusively, until ``unlock`` or the end of this process.

    Raises:
        OSError: another process has locked it (BlockingIOError), or it cannot be locked.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held[descriptor] = None


def unlock(descriptor: int) -> None:
    """Give the lock up and close the file; in a forked child, where it is closed, do nothing."""
    if descriptor in _held:
        del _held[descriptor]
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _let_go_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)
