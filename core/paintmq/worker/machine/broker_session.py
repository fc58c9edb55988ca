"""A worker's session with the broker: its identity there, whether it was welcomed, what is due.

Rule: the worker never waits for the broker. A connection keeps messages in order, so whatever it
sends after its hello is read after it, and nothing need be held back until the welcome comes.
"""

from math import inf

from attrs import define, field

from paintmq.task import PeerId
from paintmq.wire.messages import WorkerWelcome
from paintmq.worker.machine.profile import WorkerTimers


@define
class BrokerSession:
    """Deadlines of one worker's connection; a new one follows whenever the broker is silent."""

    _timers: WorkerTimers
    peer: PeerId = field(default=PeerId(b""), init=False)
    previous: PeerId = field(default=PeerId(b""), init=False)
    """The connection before this one, now certainly dead."""
    greeting: bool = field(default=False, init=False)
    """A hello was sent and has not been answered."""
    silent_at: float = field(default=inf, init=False)
    """When the connection counts as dead unless the broker speaks."""
    beat_at: float = field(default=inf, init=False)
    """When the next heartbeat is due; infinity before the welcome."""
    _heartbeat: float = field(default=0.0, init=False)
    _in_vain: int = field(default=0, init=False)

    def opened(self, peer: PeerId) -> None:
        self.previous, self.peer = self.peer, peer

    def greeted(self, *, now: float) -> None:
        """Record that a hello was sent."""
        wait = min(self._timers.welcome_first * 2**self._in_vain, self._timers.welcome_most)
        self._in_vain = min(self._in_vain + 1, 16)
        self.greeting = True
        self.silent_at = now + wait
        self.beat_at = inf

    def welcomed(self, welcome: WorkerWelcome, *, now: float) -> None:
        self.greeting = False
        self._in_vain = 0
        self._heartbeat = welcome.heartbeat
        self.beat_at = now + welcome.heartbeat
        self.heard(now=now)

    def heard(self, *, now: float) -> None:
        """Record that the broker sent something."""
        if not self.greeting and self.beat_at < inf:
            self.silent_at = now + self._timers.beats_missed * self._heartbeat

    def refused(self, *, now: float) -> None:
        self.beat_at = inf
        self.silent_at = now + self._timers.refused

    def is_silent(self, *, now: float) -> bool:
        """Return whether a new connection is due, which then must be opened."""
        if self.silent_at > now:
            return False
        self.silent_at = self.beat_at = inf
        return True

    def pop_beat(self, *, now: float) -> bool:
        """Return whether a heartbeat is due, and expect the next one."""
        if self.beat_at > now:
            return False
        self.beat_at = now + self._heartbeat
        return True

    def next_deadline(self) -> float:
        """Return when something is due; infinity: not before something happens."""
        return min(self.silent_at, self.beat_at)
