"""Task ids that are made of idempotency keys, and who may use them. Pure: no clock, no randomness.

Ids are made by clients, so a broker with several keys must be sure that no client takes an id which
another's task will have: it would learn that task's result, or keep it from being accepted.
"""

import hashlib

from paintmq.task import TaskId


def task_id_for_key(tenant: str, idempotency_key: str, *, owner: str = "") -> TaskId:
    """Return the id that every task with this key has, so that submitting it twice is one task.

    A UUID version 8 (RFC 9562 section 5.8) made of SHA-256. ``owner``: the name of the key that the
    client shows to the broker, empty if it shows none. The first 48 bits of an owner's ids are its
    mark; see ``may_use_id``.
    """
    if owner:
        value = _mark_of(owner) << 80 | _digest(f"{owner}\0{tenant}\0{idempotency_key}") >> 48
    else:
        value = _digest(f"{tenant}\0{idempotency_key}")
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return TaskId(f"{value:032x}")


def may_use_id(owner: str, task_id: TaskId) -> bool:
    """Return whether the owner of a key may submit a task under this id.

    Ids of version 4 and 7 cannot be guessed, so they are free. Those of version 8 must bear the
    owner's mark. Any other could be guessed, and taken before its client comes.
    """
    match task_id[12]:
        case "4" | "7":
            return True
        case "8":
            return int(task_id[:12], 16) == _mark_of(owner)
        case _:
            return False


def _mark_of(owner: str) -> int:
    return _digest(owner) >> 80


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
