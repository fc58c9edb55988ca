"""What an operator should know about the keys that a broker admits."""

from collections.abc import Collection, Iterable, Iterator
from typing import Literal

from attrs import frozen

from paintmq.transport.key_files import Allowed


@frozen
class Concern:
    """One remark about one key."""

    verdict: Literal["note", "problem"]
    """A problem: the key is refused, or does less than it should; a note: it will be so soon."""
    text: str
    """With the remedy."""


def review(keys: Iterable[Allowed], *, queues: Collection[str], now: float) -> Iterator[Concern]:
    """Yield what is worth saying about these keys, at that time and with these queues."""
    for key in keys:
        name, terms = key.name, key.terms
        if terms.has_expired(now):
            remedy = "revoke it, and add another if it is still needed"
            yield Concern("problem", f"key {name!r} expired on {terms.end}: {remedy}")
        elif terms.expires_soon(now):
            remedy = "add another in time if it is still needed"
            yield Concern("note", f"key {name!r} expires on {terms.end}: {remedy}")
        for queue in terms.queues or ():
            if queue not in queues:
                there = ", ".join(queues)
                text = f"key {name!r} is for the unknown queue {queue!r}; there are {there}"
                yield Concern("problem", text)
