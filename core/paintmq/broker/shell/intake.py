"""How much of a turn goes to what clients send: work under way comes first.

Submissions cost the broker as much as endings do, and one client can send more of them than all
workers together can work off. So workers are read before clients, and as long as attempts are under
way the clients get a share of the time that is left. With a journal on a disk their records count,
too: a lease must be durable before it is sent and an ending before it is told, so each waits for
the commit that is under way and for its own. Clients are therefore not read while more than a few
records are unwritten. Whoever sends more waits in TCP: that is back-pressure, not a refusal.

A message of a client may hold dozens of tasks. It is handled in slices, between which workers are
read: a worker whose tasks take a millisecond would otherwise wait for most of the time. What a
slice takes may be more than a turn allows, so the time is an account over many turns.
"""

from attrs import define

BUSY_SHARE, IDLE_SHARE = 0.15, 1.0
"""Of the loop's busy and idle time, that clients get while work is under way. The answers to them
take a third of that once more, and a worker that is heard a moment later has less to do."""
MOST_SECONDS = 0.004
"""Of a turn, that clients get at most: afterwards workers are heard again."""
BUSY_RECORDS = 16
"""Unwritten records with which clients wait while work is under way: a commit of a few
milliseconds."""
IDLE_RECORDS = 512
"""The same while no work is under way: then nothing but the disk's own pace matters."""
SLICE = 16
"""Messages of one client that share a step of the machine, a millisecond or two; then it is
another's turn, if one has said something, and the clock is looked at."""
LIGHT = 4
"""Messages that a client has in line and is served before those with more: single tasks of one
client do not wait for the thousands of another."""
AHEAD = 32
"""Messages of clients that may wait to be handled while more are read. ZeroMQ hands out what came
client by client, so what one that says little has to say is found at once, and has its turn after
a slice of others, not after all their tasks."""
TICK = 0.0005
"""Seconds that are earned before clients are read again."""
PATIENCE = 0.25
"""Seconds without a commit after which clients are read all the same. A disk that takes so long is
stuck, and clients must be told so (``disk_busy``) instead of hearing nothing."""


@define
class Intake:
    """Decides when clients are read, and for how long; times in seconds."""

    _durable: int = 0
    _committed_at: float = 0.0
    _balance: float = 0.0
    """Seconds for which clients may be read while work is under way; negative after more."""

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

    def earn(self, *, idle: float, busy: float) -> None:
        """Account for time that the loop has waited, and time in which it did anything at all."""
        self._balance = min(MOST_SECONDS, self._balance + IDLE_SHARE * idle + BUSY_SHARE * busy)

    def spend(self, seconds: float) -> None:
        """Account for time that was spent on clients while work was under way."""
        self._balance = max(-2 * MOST_SECONDS, self._balance - seconds)

    def seconds(self, *, is_working: bool) -> float:
        """Return for how long clients may be read now; 0: not until more has been earned."""
        return max(0.0, self._balance) if is_working else MOST_SECONDS

    @property
    def hears_light(self) -> bool:
        """Whether clients that say little are heard although nothing has been earned."""
        return self._balance > -MOST_SECONDS

    @property
    def wait(self) -> float:
        """Return the seconds of idleness after which clients may be read; 0: they may be now."""
        return 0.0 if self._balance > 0 else (TICK - self._balance) / IDLE_SHARE
