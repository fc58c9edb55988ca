"""What each model in a worker's memory is worth to it, and so which is evicted first.

Worth is how often the worker has recently used a model, times the seconds its load takes, divided
by the megabytes it fills. So a model in constant use stays even if a rare one was used after it;
and of two models used equally often, the one goes that is quicker to reload for the room it frees.
What that gains over least recently used: ``routers/README.md``.

Rule: no clock and no random number. Broker and worker each count the same uses in the same order
and are told the same load times, so the broker can predict what a load will evict and score it
before deciding. A wrong prediction (after a restart, say) loses nothing: workers report what they
unload, and the broker corrects its view.
"""

from collections.abc import Mapping
from typing import Protocol

from attrs import define, field

HALVED_AFTER = 100
"""Uses of any model after which an earlier use counts half as much. A lower number is closer to
least recently used; a higher one keeps once popular models for longer."""

SECONDS_PER_MB = 0.001
"""Assumed for a load that was not measured: a gigabyte per second, as from a disk."""

_GROWTH = 2.0 ** (1 / HALVED_AFTER)
_LARGEST = 2.0**32
"""Of the weight of a use. Beyond it all weights are scaled down, and models whose weight no longer
counts are dropped."""


class InMemory(Protocol):
    """A model in a worker's memory."""

    @property
    def memory_mb(self) -> int: ...


@define
class EvictionPolicy:
    """Counts one worker's uses of models."""

    _uses: dict[str, float] = field(factory=dict[str, float], init=False)
    """Weight of each model's uses. A new use weighs more than the one before, which ages all
    others without touching them."""
    _use: float = field(default=1.0, init=False)
    """Weight of the latest use."""
    _seconds: dict[str, float] = field(factory=dict[str, float], init=False)

    def used(self, model: str) -> None:
        """Count one use: the worker was given a batch for the model, or begins to load it."""
        self._use *= _GROWTH
        self._uses[model] = self._uses.get(model, 0.0) + self._use
        if self._use > _LARGEST:
            self._uses = {
                name: uses / self._use for name, uses in self._uses.items() if uses >= 1.0
            }
            self._use = 1.0

    def took(self, model: str, seconds: float) -> None:
        """Record how long the model took to load."""
        self._seconds[model] = seconds

    def of(self, model: str, memory_mb: int) -> float:
        """Return what a model of this size is worth; only comparable within one worker."""
        seconds = self._seconds.get(model)
        a_mb = SECONDS_PER_MB if seconds is None else seconds / max(1, memory_mb)
        return self._uses.get(model, 0.0) * a_mb

    def leaving(self, models: Mapping[str, InMemory]) -> list[str]:
        """Return the models in order of eviction, least worth first; ties keep the given order."""
        return sorted(models, key=lambda model: self.of(model, models[model].memory_mb))
