"""A connected worker as the scheduler sees it: what it holds, and what is in its memory."""

from attrs import define, field

from paintmq.broker.scheduling.backlog import WaitingTask
from paintmq.eviction import EvictionPolicy
from paintmq.task import DeviceKind, PeerId, TaskId
from paintmq.wire.messages import WorkerHello

PREFETCH_SECONDS = 0.25
"""Seconds before its expected end at which a busy worker may be sent its next task. That hides the
message's travel time, and a task bound so briefly before loses little if another worker becomes
free first."""

OVERDUE_SHARE = 0.15
"""A run that exceeds its estimate is expected to take this share of its age longer: the longer a
run has lasted, the longer it is likely to go on."""


@define(eq=False)
class Resident:
    """A model in a worker's memory."""

    memory_mb: int
    pinned: bool
    used_at: float


@define(eq=False)
class Holding:
    """A batch that was given to a worker: one of its credits."""

    model: str
    device: DeviceKind
    suspect: bool
    expected: float
    """Seconds it should run after it has started."""
    tasks: dict[TaskId, WaitingTask] = field(factory=dict[TaskId, WaitingTask], init=False)
    started_at: float | None = field(default=None, init=False)
    claimed: bool = field(default=False, init=False)
    """Taken over from an older connection one task at a time, so its batches are unknown."""


@define
class CoolOff:
    """A model that a worker failed to load."""

    until: float
    failures: int


@define(eq=False)
class Worker:
    """A connected worker as the scheduler sees it."""

    hello: WorkerHello
    session: PeerId
    number: int
    """Order of arrival: breaks ties."""
    profile: int
    """Index of its profile: its bit in a backlog's mask."""
    idle_since: float
    draining: bool = field(default=False, init=False)
    trouble: str = field(default="", init=False)
    """Why it cannot run anything for now; it counts as draining until it reconnects."""
    holdings: list[Holding] = field(factory=list[Holding], init=False)
    resident: dict[str, Resident] = field(factory=dict[str, Resident], init=False)
    """Least recently used first."""
    loading: dict[str, float] = field(factory=dict[str, float], init=False)
    memory_used_mb: int = field(default=0, init=False)
    cool_offs: dict[str, CoolOff] = field(factory=dict[str, CoolOff], init=False)
    _loading_mb: dict[str, int] = field(factory=dict[str, int], init=False)
    _worth: EvictionPolicy = field(factory=EvictionPolicy, init=False)
    _leaving: list[str] | None = field(default=None, init=False)
    """The resident models in order of eviction; None: not computed yet."""
    name: str = field(init=False)
    device: DeviceKind = field(init=False)
    device_name: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Kept here, as every decision asks for them.
        self.name, self.device = self.hello.name, self.hello.device
        self.device_name = self.hello.device_name

    @property
    def node(self) -> str:
        return self.hello.node

    @property
    def queue(self) -> str:
        return self.hello.queue

    @property
    def memory_mb(self) -> int:
        return self.hello.gpu_memory_mb if self.hello.device == "cuda" else self.hello.memory_mb

    @property
    def idle(self) -> bool:
        return not self.holdings

    def has(self, model: str) -> bool:
        return model in self.resident

    def holds(self, task_id: TaskId) -> bool:
        return any(task_id in holding.tasks for holding in self.holdings)

    def free_at(self, now: float, *, overdue: float = OVERDUE_SHARE) -> float:
        at = now
        for holding in self.holdings:
            if holding.started_at is not None:
                age = now - holding.started_at
                at += max(holding.expected - age, overdue * age)
            else:
                at = max(at, self.loading.get(holding.model, at)) + holding.expected
        return at

    def may_prefetch(self, now: float) -> bool:
        """Return whether it is busy but finishes so soon that its next task may be sent."""
        return self.may_hold_more() and self.free_at(now) - now <= PREFETCH_SECONDS

    def may_hold_more(self) -> bool:
        """Return whether it is busy and may hold another task besides."""
        return (
            0 < len(self.holdings) < self.hello.credit
            and not self.draining
            and not any(holding.suspect for holding in self.holdings)
        )

    def cooling(self, model: str, now: float) -> bool:
        """Return whether it recently failed to load the model."""
        cool_off = self.cool_offs.get(model)
        return cool_off is not None and cool_off.until > now

    def victims(self, memory_mb: int) -> list[str]:
        """Return the models it will evict to load that much more, those worth least first."""
        if not self.memory_mb:
            return []
        excess = self.memory_used_mb + memory_mb - self.memory_mb
        if excess <= 0:
            return []
        in_use = {holding.model for holding in self.holdings}
        victims: list[str] = []
        if self._leaving is None:
            self._leaving = self._worth.leaving(self.resident)
        for model in self._leaving:
            if excess <= 0:
                break
            item = self.resident[model]
            if not item.pinned and model not in in_use:
                victims.append(model)
                excess -= item.memory_mb
        return victims

    def use(self, model: str, now: float) -> None:
        """Record that it was given a task of a resident model."""
        resident = self.resident.pop(model)
        resident.used_at = now
        self.resident[model] = resident
        self._leaving = None

    def count(self, model: str) -> None:
        """Count one use of a model, exactly when the worker counts it: per batch or load begun."""
        self._worth.used(model)
        self._leaving = None

    def took(self, model: str, seconds: float) -> None:
        """Record how long the worker took to load a model."""
        self._worth.took(model, seconds)
        self._leaving = None

    def reserve(self, model: str, memory_mb: int, ready_at: float) -> None:
        """Count a model as being loaded."""
        if model not in self.loading:
            self._loading_mb[model] = memory_mb
            self.memory_used_mb += memory_mb
            self.count(model)
        self.loading[model] = ready_at

    def keep(self, model: str, resident: Resident) -> None:
        """Count a model as resident."""
        self.forget(model)
        self.resident[model] = resident
        self.memory_used_mb += resident.memory_mb

    def forget(self, model: str) -> None:
        """Count a model as neither resident nor loading."""
        resident = self.resident.pop(model, None)
        if resident is not None:
            self.memory_used_mb -= resident.memory_mb
        self._leaving = None
        self.loading.pop(model, None)
        self.memory_used_mb -= self._loading_mb.pop(model, 0)
