"""How a link sends payloads by naming a place in memory that both peers have: the interface.

The link knows when; what a place is, and who may use which, is known in ``shared_memory``.
"""

from collections.abc import Sequence
from typing import Protocol

from paintmq.task import Buffer, PayloadInfo
from paintmq.wire.messages import Message
from paintmq.wire.transfer import Payload


class PayloadSharing(Protocol):
    """One end of a connection whose peers may have memory in common."""

    def heard(self, said: Buffer) -> bytes:
        """Take what the peer said of memory; return the answer, empty for none.

        Raises:
            WireError: it makes no sense.
        """
        ...

    def refer(self, message: Message, payloads: Sequence[Payload]) -> bytes | None:
        """Return the names of the payloads' places; None: send the bytes."""
        ...

    def resolve(
        self, message: Message, references: Buffer, infos: Sequence[PayloadInfo]
    ) -> tuple[Buffer, ...] | None:
        """Return the payloads that lie at these places; None: they are no longer there.

        Raises:
            WireError: they are none that this peer may name.
        """
        ...

    def arrived(self, message: Message) -> None:
        """Take note of a message; called for each, before it is delivered."""
        ...
