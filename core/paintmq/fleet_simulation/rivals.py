"""Other systems' strategies, to measure ours against.

Those that push bind a task to a worker when it arrives; Ray Serve and SwarmUI let it wait in the
router. All of them are given true knowledge of what is resident and of declared times.
"""

import random
from collections.abc import Sequence

from attrs import define, field

from paintmq.fleet_simulation.fleet import Grant
from paintmq.fleet_simulation.traffic import Traffic


@define(eq=False)
class RivalPolicy:
    """Shared bookkeeping of all rivals; each decides in ``next_grant``."""

    traffic: Traffic
    name = "rival"
    evicts_by_worth = False
    waiting: list[int] = field(factory=list[int], init=False)
    held: list[list[int]] = field(init=False)
    """Tasks given to each worker and not done."""
    models: list[dict[str, float]] = field(init=False)
    """What each worker has or is loading, and when it was used last."""
    released_at: list[float] = field(init=False)
    rng: random.Random = field(factory=lambda: random.Random(1), init=False)
    _runs: dict[str, float] = field(init=False)
    _memory: dict[str, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        workers = self.traffic.workers
        self.held = [[] for _ in workers]
        self.models = [dict.fromkeys(worker.pinned, 0.0) for worker in workers]
        self.released_at = [0.0 for _ in workers]
        self._runs = {model.name: model.run for model in self.traffic.models}
        self._memory = {model.name: model.memory_mb for model in self.traffic.models}

    def fitting(self, model: str) -> Sequence[int]:
        """Return the workers that are large enough."""
        need = self._memory[model]
        return [
            number for number, worker in enumerate(self.traffic.workers) if worker.memory_mb >= need
        ]

    def work(self, worker: int) -> float:
        """Return the declared seconds of what the worker holds."""
        return sum(self._runs[self.traffic.tasks[task].model] for task in self.held[worker])

    def grant(self, worker: int, task: int, now: float) -> Grant:
        self.waiting.remove(task)
        self.held[worker].append(task)
        self.models[worker][self.traffic.tasks[task].model] = now
        return Grant(worker, (task,))

    def arrived(self, task: int, *, now: float) -> None:
        self.waiting.append(task)

    def next_grant(self, *, now: float) -> Grant | None:
        if not self.waiting:
            return None
        task = self.waiting[0]
        return self.grant(self.choose(self.fitting(self.traffic.tasks[task].model)), task, now)

    def choose(self, fitting: Sequence[int]) -> int:
        """Return the worker a task is pushed to on arrival."""
        return fitting[0]

    def next_preload(self, *, now: float) -> tuple[int, str] | None:
        return None

    def next_wakeup(self, *, now: float) -> float | None:
        return None

    def started(self, worker: int, task: int, *, loading: bool, now: float) -> None:
        """Nothing depends on it."""

    def loaded(self, worker: int, model: str, seconds: float, *, now: float) -> None:
        """The model counts since it was granted."""

    def unloaded(self, worker: int, model: str, *, now: float) -> None:
        self.models[worker].pop(model, None)

    def finished(self, worker: int, task: int, ran: float, *, now: float) -> None:
        self.held[worker].remove(task)
        self.released_at[worker] = now


@define(eq=False)
class RoundRobin(RivalPolicy):
    """Pushes to each fitting worker in turn."""

    name = "round robin"
    _turn: int = field(default=0, init=False)

    def choose(self, fitting: Sequence[int]) -> int:
        self._turn += 1
        return fitting[self._turn % len(fitting)]


class LeastLoadedOnArrival(RivalPolicy):
    """Pushes to the worker with the fewest declared seconds of work."""

    name = "least loaded on arrival"

    def choose(self, fitting: Sequence[int]) -> int:
        return min(fitting, key=lambda worker: (self.work(worker), worker))


class PowerOfTwo(RivalPolicy):
    """Draws two workers and pushes to the one with the shorter line."""

    name = "power of two choices"

    def choose(self, fitting: Sequence[int]) -> int:
        drawn = self.rng.sample(list(fitting), min(2, len(fitting)))
        return min(drawn, key=lambda worker: len(self.held[worker]))


@define(eq=False)
class RayServeLike(RivalPolicy):
    """Waits for a worker that has the model for 1 to 2 s, then takes one with the fewest models.

    After Ray Serve's multiplexing router: at most ``MOST_ONGOING`` tasks a worker, least recently
    used models leave first.
    """

    name = "Ray Serve like"
    MOST_ONGOING = 2
    _patience: dict[int, float] = field(factory=dict[int, float], init=False)

    def arrived(self, task: int, *, now: float) -> None:
        super().arrived(task, now=now)
        self._patience[task] = now + self.rng.uniform(1.0, 2.0)

    def next_grant(self, *, now: float) -> Grant | None:
        for task in self.waiting[:100]:
            model = self.traffic.tasks[task].model
            fitting = self.fitting(model)
            known = any(model in self.models[worker] for worker in fitting)
            open_ = [worker for worker in fitting if len(self.held[worker]) < self.MOST_ONGOING]
            warm = [worker for worker in open_ if model in self.models[worker]]
            if warm:
                return self.grant(min(warm, key=lambda w: (len(self.held[w]), w)), task, now)
            if open_ and (not known or self._patience[task] <= now):
                best = min(open_, key=lambda w: (len(self.models[w]), len(self.held[w]), w))
                return self.grant(best, task, now)
        return None

    def next_wakeup(self, *, now: float) -> float | None:
        times = [self._patience[task] for task in self.waiting[:100]]
        return min((at for at in times if at > now), default=None)


@define(eq=False)
class SwarmLike(RivalPolicy):
    """A pressure heuristic after SwarmUI: load what most tasks wait for, longest waits added."""

    name = "SwarmUI like"
    _loading: dict[int, str] = field(factory=dict[int, str], init=False)
    _since: dict[str, float] = field(factory=dict[str, float], init=False)

    def next_grant(self, *, now: float) -> Grant | None:
        idle = [worker for worker in range(len(self.held)) if not self.held[worker]]
        if not idle or not self.waiting:
            return None
        heads: dict[str, list[int]] = {}
        for task in self.waiting:
            heads.setdefault(self.traffic.tasks[task].model, []).append(task)
        for model, tasks in heads.items():
            warm = [worker for worker in idle if model in self.models[worker]]
            if warm:
                self._since.pop(model, None)
                return self.grant(min(warm, key=lambda w: self.released_at[w]), tasks[0], now)
        return self._load_under_pressure(idle, heads, now)

    def _load_under_pressure(
        self, idle: Sequence[int], heads: dict[str, list[int]], now: float
    ) -> Grant | None:
        best: tuple[float, str] | None = None
        for model, tasks in heads.items():
            since = self._since.setdefault(model, now)
            if model in self._loading.values():
                continue
            if len(idle) > 1 and now - since < 1.5:
                continue
            if not set(idle) & set(self.fitting(model)):
                continue
            pressure = 10 * len(tasks) + now - self.traffic.tasks[tasks[0]].at
            if best is None or pressure > best[0]:
                best = (pressure, model)
        if best is None:
            return None
        model = best[1]
        fitting = [worker for worker in idle if worker in self.fitting(model)]
        worker = min(fitting, key=lambda w: (bool(self.models[w]), self.released_at[w]))
        self._loading[worker] = model
        self._since.pop(model, None)
        return self.grant(worker, heads[model][0], now)

    def loaded(self, worker: int, model: str, seconds: float, *, now: float) -> None:
        self._loading.pop(worker, None)

    def started(self, worker: int, task: int, *, loading: bool, now: float) -> None:
        if not loading:
            self._loading.pop(worker, None)

    def next_wakeup(self, *, now: float) -> float | None:
        return min((at + 1.5 for at in self._since.values() if at + 1.5 > now), default=None)


@define(eq=False)
class SoonestCompletion(RivalPolicy):
    """Pushes to the worker that should finish the task first, counting its load and the loads
    ahead.

    Late enough information is what it lacks: what it bound it never moves.
    """

    name = "soonest completion"
    _free_at: list[float] = field(init=False)
    _loads: dict[str, float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._free_at = [0.0 for _ in self.held]
        self._loads = {model.name: model.load for model in self.traffic.models}

    def next_grant(self, *, now: float) -> Grant | None:
        if not self.waiting:
            return None
        task = self.waiting[0]
        model = self.traffic.tasks[task].model
        ends = {worker: self._end(worker, model, now) for worker in self.fitting(model)}
        best = min(ends, key=lambda worker: (ends[worker], worker))
        self._free_at[best] = ends[best]
        return self.grant(best, task, now)

    def _end(self, worker: int, model: str, now: float) -> float:
        start = max(now, self._free_at[worker]) if self.held[worker] else now
        load = 0.0 if model in self.models[worker] else self._loads[model]
        return start + (load + self._runs[model]) / self.traffic.workers[worker].speed


@define(eq=False)
class LongestQueue(RivalPolicy):
    """A free worker continues with a model it has while tasks wait for it, then turns to the
    longest queue: exhaustive service, as in polling systems.
    """

    name = "longest queue"

    def next_grant(self, *, now: float) -> Grant | None:
        idle = [worker for worker in range(len(self.held)) if not self.held[worker]]
        queues: dict[str, list[int]] = {}
        for task in self.waiting if idle else ():
            queues.setdefault(self.traffic.tasks[task].model, []).append(task)
        longest = sorted(queues, key=lambda model: -len(queues[model]))
        for worker in idle:
            warm = [model for model in longest if model in self.models[worker]]
            if warm:
                return self.grant(worker, queues[warm[0]][0], now)
        for model in longest:
            fitting = [worker for worker in idle if worker in self.fitting(model)]
            if fitting:
                best = min(fitting, key=lambda w: (len(self.models[w]), self.released_at[w]))
                return self.grant(best, queues[model][0], now)
        return None


RIVALS: Sequence[type[RivalPolicy]] = (
    RoundRobin,
    LeastLoadedOnArrival,
    PowerOfTwo,
    SoonestCompletion,
    RayServeLike,
    SwarmLike,
    LongestQueue,
)


def clairvoyant_mean(traffic: Traffic) -> float:
    """Return a lower bound of the mean latency: the whole fleet as one machine that never loads.

    Shortest remaining time first is optimal on one machine, and no task ends sooner than its own
    run.
    """
    speed = sum(worker.speed for worker in traffic.workers)
    fastest = max(worker.speed for worker in traffic.workers)
    from heapq import heappop, heappush

    line: list[tuple[float, int]] = []
    ends, now = [0.0] * len(traffic.tasks), 0.0
    for number, task in enumerate([*traffic.tasks, None]):
        until = task.at if task is not None else float("inf")
        while line:
            left, first = line[0]
            if now + left > until:
                line[0] = (left - (until - now), first)
                break
            now += left
            ends[first] = now
            heappop(line)
        now = max(now, until)
        if task is not None:
            heappush(line, (task.run / speed, number))
    pooled = sum(end - task.at for end, task in zip(ends, traffic.tasks, strict=True))
    own = sum(task.run / fastest for task in traffic.tasks)
    return max(pooled, own) / len(traffic.tasks)
