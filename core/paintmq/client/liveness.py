"""Whether a client's connection is open, welcomed and answered, and when to say so. Pure."""

import random
from math import inf

from attrs import define, field, frozen

from paintmq.wire.messages import Welcome


@frozen(kw_only=True)
class ClientTimers:
    """How long a client waits before it repeats or reconnects, in seconds."""

    resend_first: float = 2.0
    resend_most: float = 30.0
    heartbeat: float = 5.0
    """Until the broker says what it would like."""
    silence: float = 15.0
    """How long a welcomed broker may be silent before reconnecting; at least 3 heartbeats."""
    connect_first: float = 5.0
    """How long the first connection may stay unanswered; doubled up to ``connect_most``."""
    connect_most: float = 30.0


@define
class Liveness:
    """One connection after another, and what the broker made of each."""

    rng: random.Random
    connections: int = field(default=0, init=False)
    is_open: bool = field(default=False, init=False)
    welcomed: bool = field(default=False, init=False)
    gave_up: bool = field(default=False, init=False)
    """The last connection was given up because it was not answered, and none was welcomed since."""
    refusal: str = field(default="", init=False)
    """Why the broker refused this client; empty once it has welcomed it again."""
    unread: int = field(default=0, init=False)
    """Connections that a running broker forgot, most likely because it could not read a message."""
    silent_at: float = field(default=inf, init=False)
    """When a connection without an answer is given up."""
    heartbeat_at: float = field(default=inf, init=False)
    """When the next heartbeat is due."""
    _heartbeat: float = field(default=0.0, init=False)
    _patience: float = field(default=0.0, init=False)
    _incarnation: int | None = field(default=None, init=False)
    """Of the broker that welcomed us last."""
    _was_forgotten: bool = field(default=False, init=False)
    """The connection before this one ended because the broker did not know it any more."""

    def open(self, timers: ClientTimers, *, now: float) -> None:
        """Begin a connection; it has to be answered in time."""
        self.is_open, self.welcomed = True, False
        self.connections += 1
        self._heartbeat = self._heartbeat or timers.heartbeat
        self.heartbeat_at = now + self._heartbeat
        self._patience = self._patience or timers.connect_first
        self.silent_at = now + self._jittered(self._patience)

    def close(self, timers: ClientTimers) -> None:
        """End the connection; one that was never welcomed makes the next one wait longer."""
        self.is_open = False
        if not self.welcomed:
            self._patience = min(2 * self._patience, timers.connect_most)

    def heard(self, timers: ClientTimers, *, now: float) -> None:
        """Record a sign of life of a broker that knows this connection."""
        self.silent_at = now + max(timers.silence, 3 * self._heartbeat)

    def beat(self, *, now: float) -> bool:
        """Return whether a heartbeat is due, which counts as sent then."""
        if now < self.heartbeat_at:
            return False
        self.heartbeat_at = now + self._heartbeat
        return True

    def welcome(self, message: Welcome, *, now: float) -> bool:
        """Record the welcome; return whether the broker is the one that forgot the connection."""
        self.welcomed, self.gave_up, self._patience, self.refusal = True, False, 0.0, ""
        self._heartbeat = message.heartbeat
        self.heartbeat_at = min(self.heartbeat_at, now + self._heartbeat)
        forgot = self._was_forgotten and message.incarnation == self._incarnation
        self.unread += forgot
        self._incarnation, self._was_forgotten = message.incarnation, False
        return forgot

    def is_restart(self, message: Welcome) -> bool:
        """Return whether this welcome is another broker's than the last."""
        return message.incarnation != self._incarnation

    def forgotten(self) -> None:
        """Record that the broker does not know this connection any more."""
        self._was_forgotten = True

    def refused(self, reason: str, timers: ClientTimers, *, now: float) -> None:
        """Record a refusal: the next connection is tried after the longest wait."""
        self.refusal = reason
        self._patience = timers.connect_most
        self.silent_at = now + self._jittered(self._patience)

    def _jittered(self, seconds: float) -> float:
        return seconds * self.rng.uniform(0.8, 1.2)
