"""What task number N of a chaos client is: what clients submit, and the judge expects.

Pure arithmetic without a line of PaintMQ's, so that both ends of the run cannot err together.
"""

import hashlib


def is_poison(client: str, number: int) -> bool:
    """Return whether the task kills the process that runs it."""
    return not client.startswith("http") and number % 200 == 25


def is_cancelled(number: int) -> bool:
    """Return whether the client cancels the task, a moment after it was submitted."""
    return number % 25 == 7


def tenant_of(client: str, number: int) -> str:
    """Return whose task it is; by HTTP there are no tenants."""
    if client.startswith("http"):
        return ""
    return ("", "", "red", "blue")[number % 4]


def key_of(client: str, number: int) -> str:
    """Return the task's idempotency key; some tasks are submitted by every client."""
    shared = number % 41 == 11 and not client.startswith("http")
    return f"shared/{number}" if shared else f"{client}/{number}"


def payload_of(client: str, number: int) -> bytes:
    """Return bytes that no other task has; some are too large for one message."""
    block = hashlib.sha256(key_of(client, number).encode()).digest()
    size = 3_000_000 if number % 97 == 5 else 300_000 if number % 31 == 3 else 200
    return (block * (size // 32 + 1))[:size]


def is_echoed(payload: bytes) -> bool:
    """Return whether the model gives the payload back: the large ones, by shared memory."""
    return len(payload) > 1000


def result_of(client: str, number: int) -> str:
    """Return the text that the model answers with."""
    return hashlib.sha256(payload_of(client, number)).hexdigest()


def task_id(client: str, number: int, owner: str = "") -> str:
    """RFC 9562 version 8, of the SHA-256 of tenant, zero byte and key; of owner and zero byte
    before that and after 48 bits that are the owner's, where the client shows a key.
    """
    name = f"{tenant_of(client, number)}\0{key_of(client, number)}"
    value = bytearray(hashlib.sha256(name.encode()).digest()[:16])
    if owner:
        mark = hashlib.sha256(owner.encode()).digest()[:6]
        value = bytearray(mark + hashlib.sha256(f"{owner}\0{name}".encode()).digest()[:10])
    value[6] = value[6] & 0x0F | 0x80
    value[8] = value[8] & 0x3F | 0x80
    return value.hex()
