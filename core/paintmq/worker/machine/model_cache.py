"""Which models stay in a worker's memory: the least valuable goes first (``paintmq/eviction.py``).

Rule 1: a pinned model is never evicted. Rule 2: a model in use is never evicted. Rule 3: memory is
given back before it is taken: whoever loads first unloads what ``victims`` names.
"""

from collections.abc import Collection

from attrs import define, field, frozen

from paintmq.eviction import EvictionPolicy
from paintmq.wire.messages import ResidentModel


@frozen(kw_only=True)
class _Entry:
    memory_mb: int
    pinned: bool


@define
class ModelCache:
    """The resident models of one worker within a budget of megabytes (2**20 bytes)."""

    budget_mb: int
    """What the models may fill together; 0 is unlimited."""
    _entries: dict[str, _Entry] = field(factory=dict[str, _Entry], init=False)
    """Least recently used first."""
    _worth: EvictionPolicy = field(factory=EvictionPolicy, init=False)

    def __contains__(self, model: str) -> bool:
        return model in self._entries

    @property
    def used_mb(self) -> int:
        return sum(entry.memory_mb for entry in self._entries.values())

    def resident(self) -> tuple[ResidentModel, ...]:
        """Return what is resident, least recently used first."""
        return tuple(
            ResidentModel(model=model, memory_mb=entry.memory_mb, pinned=entry.pinned)
            for model, entry in self._entries.items()
        )

    def victims(self, needed_mb: int, *, in_use: Collection[str] = ()) -> tuple[str, ...]:
        """Return the models to unload before one of ``needed_mb`` may be loaded.

        Where evicting every candidate is not enough, all of them are named: the model is then
        loaded into as much room as there can be, and the device says whether that suffices.
        """
        if not self.budget_mb:
            return ()
        excess = self.used_mb + needed_mb - self.budget_mb
        chosen = []
        for model in self.evictable(in_use=in_use):
            if excess <= 0:
                break
            chosen.append(model)
            excess -= self._entries[model].memory_mb
        return tuple(chosen)

    def evictable(self, *, in_use: Collection[str] = ()) -> tuple[str, ...]:
        """Return the models that may be unloaded: those worth least first, then by last use."""
        return tuple(
            model
            for model in self._worth.leaving(self._entries)
            if not self._entries[model].pinned and model not in in_use
        )

    def will_load(self, model: str) -> None:
        """Record that the model is about to be loaded, which counts as a use of it."""
        self._worth.used(model)

    def add(self, model: str, memory_mb: int, *, seconds: float, pinned: bool = False) -> None:
        """Record that the model is resident now, and what it was measured to take."""
        self._entries.pop(model, None)
        self._entries[model] = _Entry(memory_mb=memory_mb, pinned=pinned)
        self._worth.took(model, seconds)

    def touch(self, model: str) -> None:
        """Record that the model is used now."""
        self._entries[model] = self._entries.pop(model)
        self._worth.used(model)

    def remove(self, model: str) -> bool:
        """Record that the model is gone; return whether it was resident."""
        return self._entries.pop(model, None) is not None

    def clear(self) -> tuple[str, ...]:
        """Record that the process is gone, and its models with it; return their names."""
        models = tuple(self._entries)
        self._entries.clear()
        return models
