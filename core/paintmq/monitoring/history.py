"""The most recent samples, and the throughput computed from them. Pure."""

from collections import deque
from collections.abc import Iterator
from itertools import pairwise

from attrs import define, field, frozen

from paintmq.statistics import BrokerStatistics

SAMPLES_KEPT = 1_440
"""A day of one a minute, the default interval."""


@frozen
class Sample:
    """The statistics at one moment."""

    at: float
    """Seconds of the sampler's clock."""
    statistics: BrokerStatistics


@define
class History:
    """Bounded: the oldest sample makes room for the newest."""

    _samples: deque[Sample] = field(factory=lambda: deque(maxlen=SAMPLES_KEPT), init=False)

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)

    @property
    def latest(self) -> Sample | None:
        return self._samples[-1] if self._samples else None

    def since(self, at: float) -> list[Sample]:
        """Return the samples from that time on, oldest first."""
        return [sample for sample in self._samples if sample.at >= at]

    def rate(self, counter: str, *, over: float, queue: str | None = None) -> float:
        """Return how fast a counter of ``QueueStatistics`` grew over the last seconds, a second.

        0.0 until there are two samples. A counter that fell belongs to a broker that was restarted
        in between: its whole value was counted since.
        """
        if len(self._samples) < 2:
            return 0.0
        last = self._samples[-1]
        samples = self.since(last.at - over)
        if len(samples) < 2:
            samples = [self._samples[-2], last]
        grown = 0
        for before, after in pairwise(samples):
            was, now = _count(before, counter, queue), _count(after, counter, queue)
            grown += now - was if now >= was else now
        seconds = last.at - samples[0].at
        return grown / seconds if seconds > 0 else 0.0

    def __iter__(self) -> Iterator[Sample]:
        return iter(tuple(self._samples))

    def __len__(self) -> int:
        return len(self._samples)


def _count(sample: Sample, counter: str, queue: str | None) -> int:
    if queue is None:
        return sample.statistics.total(counter)
    statistics = sample.statistics.queues.get(queue)
    return int(getattr(statistics, counter)) if statistics is not None else 0
