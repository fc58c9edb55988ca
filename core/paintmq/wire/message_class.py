"""What is declared about a message where its class is defined, and the tables derived from it.

Rule: a kind number is never given to another message, so that peers of two versions cannot mistake
one message for another.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from attrs import frozen

from paintmq.task import PayloadInfo

ReadPayloads: TypeAlias = Callable[[Any], tuple[PayloadInfo, ...]]
M = TypeVar("M", bound=type)

FIRST_OF_LINK = 0xF0
"""Kinds from here on belong to the link (transfers and credits), not to messages."""


@frozen(kw_only=True)
class MessageForm:
    """How a class of messages travels."""

    kind: int
    """Number in the header."""
    large: bool
    """Whether its body may be large, as it lists much: see ``codec``."""
    work: bool
    """Whether it travels by the pipes of a ``pushpull`` queue: a task or a result."""
    hello: bool
    """Whether it starts a connection anew: see ``Link``."""
    runs: bool
    """Whether many may be written as one item: see ``runs``."""
    payloads: ReadPayloads | None
    """Returns the descriptions of the payload frames that follow; None: none ever do."""


_forms: dict[type, MessageForm] = {}


def message(
    kind: int,
    *,
    large: bool = False,
    work: bool = False,
    hello: bool = False,
    runs: bool = False,
    payloads: str | ReadPayloads | None = None,
) -> Callable[[M], M]:
    """Declare an attrs class to be a message of this kind; put it above ``frozen``.

    Args:
        kind: its number on the wire, used by no other message.
        large: see ``MessageForm``, as for the other flags.
        work: a task or a result.
        hello: starts the connection anew.
        runs: many of them may be written as one item.
        payloads: the name of the field with the descriptions of its payloads, or what reads them.

    Raises:
        ValueError: the number is taken, or is none of a message.
    """
    read = attrgetter(payloads) if isinstance(payloads, str) else payloads

    def declare(cls: M) -> M:
        if not 0 < kind < FIRST_OF_LINK:
            raise ValueError(f"{cls.__name__}: {kind:#04x} is not a kind of message")
        for other, form in _forms.items():
            if form.kind == kind:
                raise ValueError(
                    f"{cls.__name__} has the kind {kind:#04x}, which is used by {other.__name__}"
                )
        _forms[cls] = MessageForm(
            kind=kind, large=large, work=work, hello=hello, runs=runs, payloads=read
        )
        return cls

    return declare


def message_forms() -> dict[type[Any], MessageForm]:
    """Return how each class of messages declared so far travels, in order of their kinds."""
    return dict(sorted(_forms.items(), key=lambda item: item[1].kind))
