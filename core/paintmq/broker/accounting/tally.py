"""What is counted of a queue's tasks for one model, of a tenant, of a worker. Pure."""

from collections.abc import Iterable
from math import expm1

from attrs import define, field

from paintmq.broker.accounting.sketch import Sketch

WINDOWS = (60.0, 300.0, 900.0)
"""Seconds over which throughput is averaged."""


@define
class Throughput:
    """Successes a second, as exponential moving averages over ``WINDOWS``.

    While counting is younger than a window, its average is over what has been counted so far.

    Averages of two add up, so those of a queue's models give the queue's.
    """

    rates: list[float] = field(factory=lambda: [0.0] * len(WINDOWS))
    seen: int = 0
    """The count when it was last looked at."""

    def look(self, count: int, seconds: float, age: float) -> None:
        """Take in what a counter has become.

        Args:
            count: the counter now.
            seconds: since it was last looked at, greater than 0.
            age: seconds since counting began, at least ``seconds``.
        """
        rate, self.seen = max(0, count - self.seen) / seconds, count
        for place, window in enumerate(WINDOWS):
            # Without the divisor, an average that begins with nothing would be too low for long.
            weight = expm1(-seconds / window) / expm1(-max(age, seconds) / window)
            self.rates[place] += weight * (rate - self.rates[place])

    def add(self, other: "Throughput") -> None:
        """Add the averages of others' successes."""
        self.rates = [mine + its for mine, its in zip(self.rates, other.rates, strict=True)]


@define
class Cell:
    """The tasks of one queue that ask for one model."""

    queue: str
    model: str
    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    dead: int = 0
    retries: int = 0
    crashes: int = 0
    leases_lost: int = 0
    warm_starts: int = 0
    cold_starts: int = 0
    wait: Sketch = field(factory=Sketch)
    run: Sketch = field(factory=Sketch)
    total: Sketch = field(factory=Sketch)
    throughput: Throughput = field(factory=Throughput)

    @property
    def unfinished(self) -> int:
        ended = self.succeeded + self.failed + self.cancelled + self.expired + self.dead
        return self.accepted - ended

    def add(self, other: "Cell") -> None:
        """Count the tasks of another cell here too."""
        self.accepted += other.accepted
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.cancelled += other.cancelled
        self.expired += other.expired
        self.dead += other.dead
        self.retries += other.retries
        self.crashes += other.crashes
        self.leases_lost += other.leases_lost
        self.warm_starts += other.warm_starts
        self.cold_starts += other.cold_starts
        self.wait.merge(other.wait)
        self.run.merge(other.run)
        self.total.merge(other.total)
        self.throughput.add(other.throughput)


def together(cells: Iterable[Cell]) -> Cell:
    """Return what all of these cells have counted, as one of no queue and no model."""
    result = Cell("", "")
    for cell in cells:
        result.add(cell)
    return result


@define
class ModelTally:
    """A model in the memory of workers."""

    name: str
    loads: int = 0
    load_failures: int = 0
    evictions: int = 0
    load: Sketch = field(factory=Sketch)


@define
class TenantTally:
    """The tasks of one tenant."""

    name: str
    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    run_seconds: float = 0.0


@define
class WorkerTally:
    """The attempts of one worker."""

    name: str
    succeeded: int = 0
    failed: int = 0
    crashes: int = 0
    leases_lost: int = 0
    run_seconds: float = 0.0
    loads: int = 0


@define
class Rejections:
    """Refusals of tasks that named this queue; "" are those that left it to the router."""

    queue: str
    codes: dict[str, int] = field(factory=dict[str, int])
