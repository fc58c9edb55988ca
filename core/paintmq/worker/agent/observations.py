"""What a worker tells its broker beside its work: its models' output, its machine's load.

Lossy by contract, and said only to a broker that has asked for it: an older one would not
understand, and drop the session.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf

from attrs import define, field

from paintmq.statistics import SystemMetrics
from paintmq.wire.messages import ModelLogged, NodeMeasured, WorkerWelcome
from paintmq.worker.agent.model_log import ModelLog
from paintmq.worker.channel.marked_output import OutputLine
from paintmq.worker.machine.batches import HandedOver

Measure = Callable[[], SystemMetrics | None]


def not_measured() -> SystemMetrics | None:
    """Measure nothing."""
    return None


@define(eq=False)
class Observations:
    """Of one worker. All methods belong to the thread of its node's loop."""

    log: ModelLog
    _measure: Measure = not_measured
    _is_wanted: bool = field(default=False, init=False)
    _heartbeat: float = field(default=5.0, init=False)
    _measured_at: float = field(default=-inf, init=False)

    def welcomed(self, welcome: WorkerWelcome) -> None:
        self._is_wanted = welcome.observes
        self._heartbeat = welcome.heartbeat
        self.log.welcomed(observes=welcome.observes)

    def disconnected(self) -> None:
        """Keep what there is until a broker is found that wants it."""
        self._is_wanted = False
        self.log.welcomed(observes=False)

    def printed(
        self, lines: Iterable[OutputLine], running: Sequence[HandedOver], *, now: float
    ) -> None:
        self.log.heard(lines, running, now=now)

    def next_deadline(self) -> float:
        """Return when ``pop`` is worth calling for lines; measurements wait for some turn."""
        return self.log.next_deadline()

    def pop(self, *, now: float) -> list[ModelLogged | NodeMeasured]:
        """Return what to tell the broker now."""
        if not self._is_wanted:
            return []
        messages: list[ModelLogged | NodeMeasured] = []
        if (said := self.log.pop(now=now)) is not None:
            messages.append(said)
        if now - self._measured_at >= self._heartbeat:
            self._measured_at = now
            if (metrics := self._measure()) is not None:
                messages.append(NodeMeasured(system=metrics))
        return messages
