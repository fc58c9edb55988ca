"""Messages whose payloads are still arriving: bounded in bytes, over all peers, and in time."""

from attrs import define, field, frozen

from paintmq.task import PeerId
from paintmq.wire.link import Link
from paintmq.wire.messages import Submit


@frozen
class _Arriving:
    bytes: int
    due: float
    """When more of it must have come."""


@define
class ReassemblyBudget:
    """What the links of all peers hold of unfinished transfers."""

    _most: int
    """Bytes; above that what clients submit is refused, as it comes. What workers answer is not."""
    _patience: float
    """Seconds between two bursts of one transfer."""
    _arriving: dict[PeerId, _Arriving] = field(factory=dict[PeerId, _Arriving], init=False)
    bytes: int = field(default=0, init=False)
    """Held in all."""

    def __len__(self) -> int:
        return len(self._arriving)

    def heard(self, peer: PeerId, link: Link, *, now: float) -> Submit | None:
        """Take note of what a link holds after it was given something.

        Returns:
            The submission that must be refused because all peers together sent too much; the link
            holds nothing of it any more.
        """
        before = self._arriving.get(peer)
        self.forget(peer)
        message = link.arriving
        if message is None:
            return None
        held = link.arrived_bytes
        if isinstance(message, Submit) and self.bytes + held > self._most:
            link.forget_arriving()
            return message
        # Other messages between its bursts do not make it any more complete.
        due = before.due if before is not None and before.bytes == held else now + self._patience
        self._arriving[peer] = _Arriving(held, due)
        self.bytes += held
        return None

    def forget(self, peer: PeerId) -> None:
        """Take note that a connection and its link are gone; harmless when it had nothing."""
        arriving = self._arriving.pop(peer, None)
        if arriving is not None:
            self.bytes -= arriving.bytes

    def overdue(self, *, now: float) -> list[PeerId]:
        """Return the peers that stopped in the middle of a transfer."""
        return [peer for peer, arriving in self._arriving.items() if arriving.due <= now]
