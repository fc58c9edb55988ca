"""How much of a turn goes to what clients send: work under way comes first.

Submissions cost the broker as much as endings do, and one client can send more of them than all
workers together can work off. So workers are read before clients, and as long as attempts are under
way the clients get a share of the time that is left. With a journal on a disk their records count,
too: a lease must be durable before it is sent and an ending before it is told, so each waits for
the commit that is under way and for its own. Clients are therefore not read while more than a few
records are unwritten. Whoever sends more waits in TCP: that is back-pressure, not a refusal.

A message of a client may hold dozens of tasks. It is handled in slices, between which workers are
read: a worker whose tasks take a millisecond would otherwise wait for most of the time.
"""

from attrs import define

SHARE = 0.3
"""Of the time for messages, that clients get while work is under way."""
LEAST_SECONDS = 0.0005
"""Of a turn, that clients get in any case."""
MOST_SECONDS = 0.004
"""Of a turn, that clients get at most: afterwards workers are heard again."""
BUSY_RECORDS = 48
"""Unwritten records with which clients wait while work is under way: a commit of a few
milliseconds."""
IDLE_RECORDS = 512
"""The same while no work is under way: then nothing but the disk's own pace matters."""
SLICE = 8
"""Messages of clients that share a step of the machine, between two looks at the clock."""
PATIENCE = 0.25
"""Seconds without a commit after which clients are read all the same. A disk that takes so long is
stuck, and clients must be told so (``disk_busy``) instead of hearing nothing."""


@define
class Intake:
    """Decides when clients are read, and for how long; times in seconds."""

    _durable: int = 0
    _committed_at: float = 0.0

    def is_open(self, *, unwritten: int, durable: int, is_working: bool, now: float) -> bool:
        """Return whether clients may be read with so many unwritten records.

        Args:
            unwritten: records that the journal has not made durable yet.
            durable: number of the last one that it has.
            is_working: attempts are under way.
            now: broker time.
        """
        if durable != self._durable or not unwritten:
            self._durable, self._committed_at = durable, now
        if unwritten < (BUSY_RECORDS if is_working else IDLE_RECORDS):
            return True
        return now - self._committed_at > PATIENCE

    @staticmethod
    def seconds(*, worked: float, is_working: bool) -> float:
        """Return for how long clients are read in a turn; ``worked``: spent on workers in it."""
        if not is_working:
            return MOST_SECONDS
        return min(MOST_SECONDS, max(LEAST_SECONDS, worked * SHARE / (1 - SHARE)))
