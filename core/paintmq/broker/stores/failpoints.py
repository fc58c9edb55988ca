"""Places where a test may kill the process: before and after every write, fsync, rename and send.

Armed by the environment variable ``PAINTMQ_CRASH_AT`` (``name`` or ``name:n`` for the n-th time),
which nothing but the tests sets; a disarmed point costs one comparison.
"""

import os

VARIABLE = "PAINTMQ_CRASH_AT"

POINTS = (
    # A broker starts.
    "folder.after_lock",
    "schema.before_begin",
    "schema.before_commit",
    "schema.after_commit",
    "restore.before_write",
    # A task comes, runs and ends: what is decided, stored and said.
    "machine.after_step",
    "spare.before_take",
    "spare.after_take",
    "blob.before_write",
    "blob.after_write",
    "blob.after_fsync",
    "blob.before_rename",
    "blob.after_rename",
    "blob.before_folder_fsync",
    "blob.after_folder_fsync",
    "commit.before_begin",
    "commit.after_begin",
    "commit.after_log_row",
    "commit.after_record",
    "commit.before_commit",
    "commit.after_commit",
    "sequence.before_write",
    "sequence.after_write",
    "sequence.after_fsync",
    "send.before",
    "send.after",
    # It is forgotten, and what it leaves is cleaned up.
    "purge.after_task_row",
    "unlink.before",
    "spare.before_keep",
    "spare.after_keep",
    "unlink.after",
    "checkpoint.before",
    "checkpoint.after",
    "prune.before",
    "prune.after",
    "sweep.before_unlink",
    "sweep.after_unlink",
    "ballast.after_open",
    "ballast.after_allocate",
)
"""Every point, in the order in which they are met."""

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_remaining = {_name: int(_count or 1)} if _name else {}


ARMED = bool(_remaining)
"""Whether a test armed one: what is met for every message asks this first."""


def failpoint(name: str) -> None:
    """End the process here, as SIGKILL would, if a test armed this point."""
    if name in _remaining:
        _remaining[name] -= 1
        if _remaining[name] == 0:
            os._exit(9)
