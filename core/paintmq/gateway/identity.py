"""Whose a task is: its id says so.

Rule 1: the first 48 bits of the id of each task that came by HTTP are its owner's mark, so no table
of owners is needed: every gateway knows them, after any restart.
Rule 2: the gateway alone makes these ids, so nobody can submit under another's mark; and a caller
who is no admin reaches no id but those with its own.
Rule 3: the id of a task with an idempotency key is made with a secret: no other client of the
broker can guess it, and take it first.
"""

import hashlib
import hmac
import os

from attrs import frozen

from paintmq.http_api import Caller
from paintmq.task import TaskId

MARK_DIGITS = 12
"""Hexadecimal digits of an owner's mark."""


def owner_mark(name: str) -> str:
    """Return the mark of the token of this name, 12 hexadecimal digits."""
    return hashlib.sha256(b"paintmq http owner\0" + name.encode()).hexdigest()[:MARK_DIGITS]


def may_reach(caller: Caller, task_id: str) -> bool:
    """Return whether a task of this id exists, as far as the caller is told."""
    return caller.is_admin or task_id[:MARK_DIGITS] == caller.owner


@frozen
class TaskIds:
    """Makes the ids of the tasks that callers hand in."""

    secret: bytes

    def new(self, caller: Caller, idempotency_key: str | None = None) -> TaskId:
        """Return an id with the caller's mark; with a key always the same one.

        A UUID of version 4 as far as anybody else can tell, which the broker lets any of its
        clients use.
        """
        if idempotency_key is None:
            tail = os.urandom(10)
        else:
            text = f"{caller.owner}\0{caller.tenant}\0{idempotency_key}"
            tail = hmac.digest(self.secret, text.encode(), "sha256")[:10]
        value = int(caller.owner, 16) << 80 | int.from_bytes(tail)
        value = value & ~(0xF << 76) | 0x4 << 76  # version
        value = value & ~(0x3 << 62) | 0x2 << 62  # variant
        return TaskId(f"{value:032x}")
