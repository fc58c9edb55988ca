"""Which models a worker's host has, which it should have, and which is evicted for which. Pure.

Rule: memory is given back before it is taken, so what must go is named before the Load is.
"""

from collections.abc import Iterable, Mapping

from attrs import define, field

from paintmq.model import ModelSpec
from paintmq.task import TaskError
from paintmq.wire.messages import ModelLoaded, ModelUnloaded, ResidentModel
from paintmq.worker.channel.messages import HostLoaded, HostLoadFailed, Load, Unload
from paintmq.worker.machine.commands import Command, SendToBroker, SendToHost
from paintmq.worker.machine.model_cache import ModelCache
from paintmq.worker.machine.profile import WorkerProfile


@define
class LoadedModels:
    """The resident models of one host after the other, and those to load when it is idle."""

    _profile: WorkerProfile
    _specs: Mapping[str, ModelSpec]
    _cache: ModelCache = field(init=False)
    _wanted: dict[str, None] = field(init=False)
    """Pinned ones, and what the broker asked to preload; in the order they are to be loaded."""
    _made_room_for: str = field(default="", init=False)
    """The model whose load ran out of memory and is being tried again with all others gone."""

    def __attrs_post_init__(self) -> None:
        self._cache = ModelCache(self._profile.budget_mb)
        self._wanted = self._pinned()

    def __contains__(self, model: str) -> bool:
        return model in self._cache

    @property
    def resident(self) -> tuple[ResidentModel, ...]:
        return self._cache.resident()

    @property
    def next_wanted(self) -> str:
        """What to load when the host is idle; empty: nothing."""
        return next(iter(self._wanted), "")

    def want(self, model: str) -> None:
        """Load the model when the host is idle."""
        if model in self._profile.models and model not in self._cache:
            self._wanted[model] = None

    def touch(self, model: str) -> None:
        """Record that the model is used now."""
        self._cache.touch(model)

    def load(self, model: str) -> list[Command]:
        """Make room for the model and load it."""
        self._cache.will_load(model)
        victims = self._cache.victims(self._specs[model].resident_mb)
        return [*self._unload(victims), SendToHost(Load(model))]

    def loaded(self, message: HostLoaded) -> list[Command]:
        self._made_room_for = ""
        pinned = message.model in self._profile.pinned
        self._cache.add(message.model, message.memory_mb, seconds=message.seconds, pinned=pinned)
        self._wanted.pop(message.model, None)
        news = ModelLoaded(
            model=message.model,
            seconds=message.seconds,
            memory_mb=message.memory_mb,
            pinned=pinned,
        )
        # It may have turned out larger than it was thought to be.
        return [SendToBroker(news), *self._unload(self._cache.victims(0, in_use=[message.model]))]

    def make_room_again(self, message: HostLoadFailed) -> list[Command]:
        """Unload everything for a load that ran out of memory, but only once a load: a model that
        does not fit into an empty device never will. Empty: do not try again.
        """
        if message.error.code != "oom" or self._made_room_for == message.model:
            return []
        self._made_room_for = message.model
        return self.unload_but()

    def give_up_model(self, model: str, error: TaskError) -> list[Command]:
        """Record that the model cannot be loaded, and tell the broker."""
        self._made_room_for = ""
        self._wanted.pop(model, None)
        return [SendToBroker(ModelUnloaded(model=model, error=error.message))]

    def unload_but(self, *in_use: str) -> list[Command]:
        """Unload every model but the pinned ones and these."""
        return self._unload(self._cache.evictable(in_use=in_use))

    def lost(self) -> list[Command]:
        """Record that the host is gone, and its models with it."""
        self._wanted = self._pinned()
        return [SendToBroker(ModelUnloaded(model=model)) for model in self._cache.clear()]

    def _pinned(self) -> dict[str, None]:
        profile = self._profile
        return dict.fromkeys(model for model in profile.pinned if model in profile.models)

    def _unload(self, models: Iterable[str]) -> list[Command]:
        commands: list[Command] = []
        for model in models:
            self._cache.remove(model)
            commands += [SendToHost(Unload(model)), SendToBroker(ModelUnloaded(model=model))]
        return commands
