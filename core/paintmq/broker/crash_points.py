"""Places where a test may kill the process: before and after every write, fsync, rename and send.

Armed by the environment variable ``PAINTMQ_CRASH_AT`` (``name`` or ``name:n`` for the n-th time),
which nothing but the tests sets; a disarmed point costs one comparison.
"""

import os

VARIABLE = "PAINTMQ_CRASH_AT"

POINTS = (
    "blob.before_write",
    "blob.after_write",
    "blob.after_fsync",
    "blob.after_rename",
    "blob.after_folder_fsync",
    "commit.before_begin",
    "commit.after_record",
    "commit.before_commit",
    "commit.after_commit",
    "sequence.after_write",
    "sequence.after_fsync",
    "checkpoint.before",
    "checkpoint.after",
    "unlink.before",
    "unlink.after",
    "machine.after_step",
    "send.before",
    "send.after",
)
"""Every point, in the order a task meets them."""

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_remaining = {_name: int(_count or 1)} if _name else {}


def crash_point(name: str) -> None:
    """Die here, as of SIGKILL, if a test armed this point."""
    if name in _remaining:
        _remaining[name] -= 1
        if _remaining[name] == 0:
            os._exit(9)
