"""What the models in a worker's memory are worth to it, and so which of them leaves first.

Worth is how often the worker has lately used a model, times the seconds its load takes, for each
megabyte that it fills. So what is asked for all the time stays although a rare model was used after
it, and of two that are asked for alike, the one leaves that is quicker to bring back for the room
it gives. What that gains over least recently used first: ``routers/README.md``.

Rule: there is no clock and no random number in it, so the broker, which sees the same uses in the
same order and is told the same seconds, works out beforehand what a worker will evict. Where it is
mistaken (it was restarted, say) nothing is lost: workers report what they unload.
"""

from collections.abc import Mapping
from typing import Protocol

from attrs import define, field

HALVED_AFTER = 100
"""Uses of any model by the worker after which one use counts half as much. The fewer, the nearer
this is to least recently used first; the more, the longer what was popular once stays."""

SECONDS_PER_MB = 0.001
"""Of a load that was not measured: a gigabyte a second, as from a disk."""

_GROWTH = 2.0 ** (1 / HALVED_AFTER)
_LARGEST = 2.0**32
"""Of a use. Then all are counted anew, and those no longer worth counting are forgotten."""


class InMemory(Protocol):
    """A model in a worker's memory."""

    @property
    def memory_mb(self) -> int: ...


@define
class EvictionPolicy:
    """Counts one worker's uses of models."""

    _uses: dict[str, float] = field(factory=dict[str, float], init=False)
    """Each use counts more than the one before it, rather than all before it less."""
    _use: float = field(default=1.0, init=False)
    """What the latest use counted."""
    _seconds: dict[str, float] = field(factory=dict[str, float], init=False)

    def used(self, model: str) -> None:
        """Note that the worker was given a batch for the model, or begins to load it."""
        self._use *= _GROWTH
        self._uses[model] = self._uses.get(model, 0.0) + self._use
        if self._use > _LARGEST:
            self._uses = {
                name: uses / self._use for name, uses in self._uses.items() if uses >= 1.0
            }
            self._use = 1.0

    def took(self, model: str, seconds: float) -> None:
        """Note how long the model took to load."""
        self._seconds[model] = seconds

    def of(self, model: str, memory_mb: int) -> float:
        """Return what a model that fills so much is worth, for comparison with others."""
        seconds = self._seconds.get(model)
        a_mb = SECONDS_PER_MB if seconds is None else seconds / max(1, memory_mb)
        return self._uses.get(model, 0.0) * a_mb

    def leaving(self, models: Mapping[str, InMemory]) -> list[str]:
        """Return the models by their worth, least first; those worth the same as they come."""
        return sorted(models, key=lambda model: self.of(model, models[model].memory_mb))
