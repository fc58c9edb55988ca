"""The physics of a fleet: workers that load, evict and run, in simulated time.

A policy only decides who gets what; loads and runs take the same time under all of them. Workers
evict as in the system whose policy it is: by worth under PaintMQ's, by last use under all others.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Protocol

from attrs import define, field, frozen

from paintmq.eviction import EvictionPolicy
from paintmq.fleet_simulation.traffic import SimulatedModel, SimulatedWorker, Traffic, TrafficTask

PATIENCE = 10_000
"""How often a policy may ask to be woken while nothing else happens before it counts as stuck."""


@frozen
class Grant:
    """A policy's decision: this worker runs these tasks, one after the other."""

    worker: int
    tasks: tuple[int, ...]


class Policy(Protocol):
    """Who decides. Workers and tasks are numbered as in the traffic."""

    @property
    def evicts_by_worth(self) -> bool:
        """Whether its workers evict the model worth least rather than the least recently used."""
        ...

    def arrived(self, task: int, *, now: float) -> None: ...
    def next_grant(self, *, now: float) -> Grant | None:
        """Return the next decision; asked again until it returns None."""
        ...

    def next_preload(self, *, now: float) -> tuple[int, str] | None: ...
    def next_wakeup(self, *, now: float) -> float | None: ...
    def started(self, worker: int, task: int, *, loading: bool, now: float) -> None: ...
    def loaded(self, worker: int, model: str, seconds: float, *, now: float) -> None: ...
    def unloaded(self, worker: int, model: str, *, now: float) -> None: ...
    def finished(self, worker: int, task: int, ran: float, *, now: float) -> None: ...


@frozen
class Ending:
    """What became of one task."""

    task: TrafficTask
    started_at: float
    """When it began to run; loading its model is waiting."""
    ended_at: float
    worker: int

    @property
    def wait(self) -> float:
        return self.started_at - self.task.at

    @property
    def latency(self) -> float:
        return self.ended_at - self.task.at


@frozen
class Outcome:
    """The outcome of all tasks in order of arrival, and what it cost."""

    endings: Sequence[Ending]
    loads: int
    load_seconds: float
    ended_at: float


@define(eq=False)
class _Machine:
    """One worker at work."""

    worker: SimulatedWorker
    line: deque[int] = field(factory=deque[int])
    """Tasks given to it and not begun."""
    resident: dict[str, None] = field(factory=dict[str, None])
    """Least recently used first."""
    worth: EvictionPolicy = field(factory=EvictionPolicy)
    busy: bool = False
    preload: str = ""
    loading: tuple[str, float] = ("", 0.0)
    """The model it loads or loaded last, and how long that took."""


@define(eq=False)
class FleetSimulation:
    """Runs a scenario under a policy."""

    traffic: Traffic
    policy: Policy
    _models: dict[str, SimulatedModel] = field(init=False)
    _machines: list[_Machine] = field(init=False)
    _agenda: list[tuple[float, int, str, int, int]] = field(init=False)
    """Time, order, what, worker, task."""
    _counter: int = field(default=0, init=False)
    _started: dict[int, float] = field(factory=dict[int, float], init=False)
    _endings: dict[int, Ending] = field(factory=dict[int, Ending], init=False)
    _loads: int = field(default=0, init=False)
    _load_seconds: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._models = {model.name: model for model in self.traffic.models}
        self._machines = [
            _Machine(worker, resident=dict.fromkeys(worker.pinned))
            for worker in self.traffic.workers
        ]
        self._agenda = []

    def run(self) -> Outcome:
        """Return what became of the tasks, once the last one is done.

        Raises:
            RuntimeError: the policy leaves tasks waiting for ever.
        """
        tasks, now, following = self.traffic.tasks, 0.0, 0
        wakeup: float | None = None
        idle_rounds = 0
        while following < len(tasks) or self._agenda or wakeup is not None:
            times = [self._agenda[0][0]] if self._agenda else []
            times += [tasks[following].at] if following < len(tasks) else []
            idle_rounds = 0 if times else idle_rounds + 1
            if idle_rounds > PATIENCE or len(self._endings) == len(tasks):
                break
            times += [wakeup] if wakeup is not None else []
            now = max(now, min(times))
            while following < len(tasks) and tasks[following].at <= now:
                self.policy.arrived(following, now=now)
                following += 1
            while self._agenda and self._agenda[0][0] <= now:
                self._happen(*heappop(self._agenda)[2:], now=now)
            self._decide(now)
            wakeup = self.policy.next_wakeup(now=now)
        if len(self._endings) < len(tasks):
            raise RuntimeError(f"{len(tasks) - len(self._endings)} tasks wait for ever")
        endings = [self._endings[number] for number in range(len(tasks))]
        return Outcome(endings, self._loads, self._load_seconds, now)

    def _decide(self, now: float) -> None:
        while (grant := self.policy.next_grant(now=now)) is not None:
            machine = self._machines[grant.worker]
            machine.line.extend(grant.tasks)
            self._go_on(grant.worker, now)
        while (preload := self.policy.next_preload(now=now)) is not None:
            number, model = preload
            machine = self._machines[number]
            machine.preload = model
            self._go_on(number, now)

    def _happen(self, what: str, number: int, task: int, *, now: float) -> None:
        machine = self._machines[number]
        if what == "loaded":
            model, seconds = machine.loading
            self.policy.loaded(number, model, seconds, now=now)
            if task >= 0:
                self._begin(number, task, now)
            else:
                machine.busy = False
                self._go_on(number, now)
        else:
            ran = now - self._started[task]
            item = self.traffic.tasks[task]
            self._endings[task] = Ending(item, self._started[task], now, number)
            machine.busy = False
            self.policy.finished(number, task, ran, now=now)
            self._go_on(number, now)

    def _go_on(self, number: int, now: float) -> None:
        """Begin what is next in line, if the machine is not busy."""
        machine = self._machines[number]
        if machine.busy:
            return
        if machine.line:
            task = machine.line.popleft()
            machine.busy = True
            seconds = self._make_resident(number, self.traffic.tasks[task].model, now)
            if seconds:
                self.policy.started(number, task, loading=True, now=now)
                self._schedule(now + seconds, "loaded", number, task)
            else:
                self._begin(number, task, now)
        elif machine.preload:
            model, machine.preload = machine.preload, ""
            seconds = self._make_resident(number, model, now)
            if seconds:
                machine.busy = True
                self._schedule(now + seconds, "loaded", number, -1)

    def _begin(self, number: int, task: int, now: float) -> None:
        machine, item = self._machines[number], self.traffic.tasks[task]
        machine.worth.used(item.model)
        self._started[task] = now
        self.policy.started(number, task, loading=False, now=now)
        self._schedule(now + item.run / machine.worker.speed, "finished", number, task)

    def _make_resident(self, number: int, name: str, now: float) -> float:
        """Return how long the load takes; 0 when the model is there already."""
        machine = self._machines[number]
        if name in machine.resident:
            machine.resident[name] = machine.resident.pop(name)
            return 0.0
        machine.worth.used(name)
        model = self._models[name]
        used = sum(self._models[other].memory_mb for other in machine.resident)
        leaving = list(machine.resident)
        if self.policy.evicts_by_worth:
            leaving = machine.worth.leaving({other: self._models[other] for other in leaving})
        for victim in leaving:
            if used + model.memory_mb <= machine.worker.memory_mb:
                break
            if victim not in machine.worker.pinned:
                del machine.resident[victim]
                used -= self._models[victim].memory_mb
                self.policy.unloaded(number, victim, now=now)
        machine.resident[name] = None
        seconds = model.load / machine.worker.speed
        machine.loading = (name, seconds)
        machine.worth.took(name, seconds)
        self._loads += 1
        self._load_seconds += seconds
        return seconds

    def _schedule(self, at: float, what: str, number: int, task: int) -> None:
        self._counter += 1
        heappush(self._agenda, (at, self._counter, what, number, task))
