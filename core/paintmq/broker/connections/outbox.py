"""Commit, then speak: messages wait here until every record they could have observed is durable.

A message without records of its own waits too: the answer to a repeated submission would otherwise
reveal an acceptance that a crash may still undo.
"""

from collections import deque
from collections.abc import Iterable, Mapping

import msgspec
from attrs import define, field

from paintmq.broker.machine import Send
from paintmq.task import Json
from paintmq.wire.transfer import Payload


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A message on its way out, with payloads that exist nowhere else (previews)."""

    send: Send
    payloads: tuple[Payload, ...] | None = None
    """None: they are looked up in the payload cache."""
    weight: int = 0
    """Of an answer that waits to be read: see ``weight_of``."""


def weight_of(value: Json) -> int:
    """Return roughly how many values a JSON value is made of.

    All rows of a list are taken to be like the first: counting thousands would take too long.
    """
    waiting, count = [(value, 1)], 0
    while waiting:
        item, times = waiting.pop()
        count += times
        match item:
            case Mapping():
                waiting.extend((inner, times) for inner in item.values())
            case [first, *_]:
                waiting.append((first, times * len(item)))
            case _:
                pass
    return count


@define
class Outbox:
    """Messages in the order in which the machine sent them."""

    _waiting: deque[tuple[int, list[Outgoing]]] = field(
        factory=deque[tuple[int, list[Outgoing]]], init=False
    )
    """Those of each step, with the record that must be durable before."""

    def __len__(self) -> int:
        return sum([len(outgoing) for _, outgoing in self._waiting])

    def add(self, sequence: int, outgoing: Iterable[Outgoing]) -> None:
        """Hold messages until that record is durable. Sequences never decrease."""
        if held := list(outgoing):
            self._waiting.append((sequence, held))

    def release(self, durable: int) -> list[Outgoing]:
        """Return the messages that may leave now, in order; they wait here no more."""
        released: list[Outgoing] = []
        while self._waiting and self._waiting[0][0] <= durable:
            released += self._waiting.popleft()[1]
        return released
