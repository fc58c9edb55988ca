"""Messages whose payloads are still arriving: limited in bytes over all peers, and in time."""

from attrs import define, field, frozen

from paintmq.task import PeerId
from paintmq.wire.link import Link
from paintmq.wire.messages import Submit


@frozen
class _Arriving:
    bytes: int
    due: float
    """When more of it must have arrived."""


@define
class ReassemblyBudget:
    """What the links of all peers hold in unfinished transfers."""

    _most: int
    """Bytes; beyond that submissions are refused as they arrive. Results never are."""
    _patience: float
    """Seconds between two bursts of one transfer."""
    _arriving: dict[PeerId, _Arriving] = field(factory=dict[PeerId, _Arriving], init=False)
    bytes: int = field(default=0, init=False)
    """Held in total."""

    def __len__(self) -> int:
        return len(self._arriving)

    def heard(self, peer: PeerId, link: Link, *, now: float) -> Submit | None:
        """Record what a link holds after it has received something.

        Returns:
            The submission that must be refused because all peers together have sent too much; the
            link has dropped it already.
        """
        before = self._arriving.get(peer)
        self.drop_peer(peer)
        message = link.arriving
        if message is None:
            return None
        held = link.arrived_bytes
        if isinstance(message, Submit) and self.bytes + held > self._most:
            link.forget_arriving()
            return message
        # Other messages between its bursts do not count as progress of the transfer.
        due = before.due if before is not None and before.bytes == held else now + self._patience
        self._arriving[peer] = _Arriving(held, due)
        self.bytes += held
        return None

    def drop_peer(self, peer: PeerId) -> None:
        """Drop a connection whose link is gone; harmless when it held nothing."""
        arriving = self._arriving.pop(peer, None)
        if arriving is not None:
            self.bytes -= arriving.bytes

    def overdue(self, *, now: float) -> list[PeerId]:
        """Return the peers whose transfer has stalled."""
        return [peer for peer, arriving in self._arriving.items() if arriving.due <= now]
