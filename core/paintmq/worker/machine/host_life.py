"""Where a worker's model host stands: started lazily, watched, replaced when it dies."""

from collections.abc import Sequence
from enum import Enum
from math import inf

from attrs import define, field

from paintmq.worker.channel.messages import HostBeat
from paintmq.worker.machine.profile import WorkerTimers

LAST_LINES, LINE_LENGTH = 10, 200
"""How many lines of a host that did not start are reported, and characters of each line."""
MOST_MB = 1 << 40
"""Megabytes, of more than which no device has memory."""
SETTLING_BATCHES = 3
"""A model's first runs make lasting buffers; growth is measured from after them."""


def with_telling_line(line: str, lines: Sequence[str]) -> str:
    """Return the line with the most telling one of the last lines: a fault's name, or the last.

    What Python prints of a fault ends with a list of modules, which tells nothing.
    """
    fatal = [printed for printed in lines if printed.startswith("Fatal Python error")]
    return ": ".join([line, *(fatal or lines)[-1:]])


class HostState(Enum):
    """What can be asked of the host now."""

    ABSENT = "absent"
    STARTING = "starting"
    UP = "up"
    LEAVING = "leaving"
    """Stopped or killed; its exit has not been seen yet."""


@define
class HostLife:
    """Deadlines and measurements of one model host after the other."""

    _timers: WorkerTimers
    _growth_mb: int
    state: HostState = field(default=HostState.ABSENT, init=False)
    loading: str | None = field(default=None, init=False)
    memory_mb: int = field(default=0, init=False)
    gpu_memory_free_mb: int = field(default=0, init=False)
    outgrown: bool = field(default=False, init=False)
    """It keeps more and more memory and is to be replaced once idle."""
    stuck: bool = field(default=False, init=False)
    """It was killed and does not end: a driver or a file system holds on to it."""
    failed_starts: int = field(default=0, init=False)
    """Hosts in a row that ended before they were ready."""
    last_lines: tuple[str, ...] = field(default=(), init=False)
    """What the last host printed in the end."""
    restart_at: float = field(default=0.0, init=False)
    _gone_by: float = field(default=inf, init=False)
    _load_until: float = field(default=inf, init=False)
    _silent_at: float = field(default=inf, init=False)
    _idle_at: float = field(default=inf, init=False)
    _deaths: int = field(default=0, init=False)
    _failure: str = field(default="", init=False)
    """How the last start failed."""
    _settling: int = field(default=0, init=False)
    _baseline_mb: int = field(default=0, init=False)

    @property
    def trouble(self) -> str:
        """Why nothing can be run for now: a line, then what the host printed; else empty."""
        if self.stuck:
            return "its model host was killed and does not end"
        if not self.failed_starts:
            return ""
        times = "once" if self.failed_starts == 1 else f"{self.failed_starts} times in a row"
        line = (
            f"its model host does not start (tried {times}, again after {self._pause():g} s): it "
            f"{self._failure}"
        )
        lines = self.last_lines[-LAST_LINES:]
        head = with_telling_line(line, lines)
        return "\n".join([head, *lines]) if len(lines) > 1 else head

    def may_start(self, *, now: float) -> bool:
        return self.state is HostState.ABSENT and self.restart_at <= now

    def start_failed(self, failure: str) -> None:
        """Record that it ended, or is about to be ended, before it was ready."""
        self.failed_starts, self._failure = self.failed_starts + 1, failure

    def printed(self, lines: Sequence[str]) -> None:
        """Keep the last lines that the host printed."""
        self.last_lines = tuple(line[:LINE_LENGTH] for line in lines)

    def starting(self, *, now: float) -> None:
        self.state = HostState.STARTING
        self._silent_at = now + self._timers.host_start
        self.outgrown, self.last_lines = False, ()
        self._settling = SETTLING_BATCHES

    def ready(self, *, now: float) -> None:
        self.state, self.failed_starts = HostState.UP, 0
        self.alive(now=now)

    def alive(self, *, now: float) -> None:
        """Record a sign of life; a starting host is judged by its start alone."""
        if self.state is HostState.UP:
            self._silent_at = now + self._timers.host_silence

    def beat(self, beat: HostBeat) -> None:
        # A model shares the process, and what it makes of these numbers must stay readable.
        self.memory_mb = min(max(beat.memory_mb, 0), MOST_MB)
        self.gpu_memory_free_mb = min(max(beat.gpu_memory_free_mb, 0), MOST_MB)

    def load_begins(self, model: str, *, until: float) -> None:
        self.loading, self._load_until = model, until

    def load_ends(self) -> None:
        self.loading, self._load_until = None, inf
        self._settling = SETTLING_BATCHES

    def leaving(self, *, now: float) -> None:
        self.state = HostState.LEAVING
        self.loading, self._load_until, self._silent_at = None, inf, inf
        self._gone_by = now + self._timers.host_exit
        self.memory_mb = 0

    def does_not_end(self, *, now: float) -> bool:
        """Return whether the killed process is overdue; true once, when it becomes so."""
        overdue = self._gone_by <= now
        if overdue:
            self.stuck, self._gone_by = True, inf
        return overdue

    def gone(self, *, died: bool, now: float) -> None:
        """Record the exit. After every death of its own the next start comes later."""
        self.leaving(now=now)
        self.state, self.stuck, self._gone_by = HostState.ABSENT, False, inf
        if not self.failed_starts:
            self._deaths = self._deaths + 1 if died else 0
        self.restart_at = now + self._pause()

    def _pause(self) -> float:
        """Return the seconds until the next start."""
        # A first death may be chance, and tasks wait; a first failed start hardly is.
        tries = self.failed_starts or self._deaths - 1
        return min(2.0 ** (tries - 1), self._timers.restart_most) if tries > 0 else 0.0

    def rest(self, *, idle: bool, at_most: float | None, now: float) -> None:
        """Record whether it is idle; ``at_most`` None: it may be for ever."""
        if not idle or at_most is None:
            self._idle_at = inf
        elif self._idle_at == inf:
            self._idle_at = now + at_most

    def has_rested(self, *, now: float) -> bool:
        """Return whether it has been idle for as long as it may."""
        return self._idle_at <= now

    def batch_ended(self, memory_mb: int) -> None:
        """Record that work succeeds, and watch what the process keeps afterwards."""
        self._deaths = 0
        if self._settling:
            self._settling -= 1
            self._baseline_mb = memory_mb
        elif self._growth_mb and memory_mb - self._baseline_mb > self._growth_mb:
            self.outgrown = True

    def failure(self, *, now: float, load_limit: float) -> str:
        """Return what the host did not do in time, as part of a sentence; empty: all is well."""
        if self._load_until <= now:
            return f"was killed after {load_limit:g} s load limit"
        if self._silent_at <= now:
            if self.state is HostState.STARTING:
                return f"was killed: it did not start within {self._timers.host_start:g} s"
            return f"was killed after {self._timers.host_silence:g} s without a sign of life"
        return ""

    def next_deadline(self) -> float:
        """Return when it will have failed to do something in time, or idled for too long."""
        return min(self._load_until, self._silent_at, self._gone_by, self._idle_at)
